"""What training may also do: warm up, average, spare norms, and learn from several teachers."""

import copy

import pytest
import torch
from torch import nn

from prunekit.data import Loader, Views, load_dataset, normalise
from prunekit.execution import evaluation_mode
from prunekit.models import TinySqueezeNet
from prunekit.repair import insert_batch_norm
from prunekit.training import answers, evaluate, fit
from prunekit.training.optimisation import scheduler_of, sgd

QUIET = {"progress": False, "schedule": "constant"}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture
def views(digits):
    return Views(digits.val, 32, views=3, seed=5, flip=False)


def rates(name, steps, warm_up):
    optimizer = sgd(nn.Linear(2, 2), 0.4, 0.0, 0.0, decay_all=True)
    scheduler = scheduler_of(name, optimizer, 0.4, steps, warm_up)
    seen = []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


def test_the_rate_rises_in_a_straight_line_and_then_follows_its_schedule():
    assert rates("constant", 6, 3) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    # Half a period of the cosine over four steps: 1, 0.854, 0.5, 0.146 of the highest rate.
    assert rates("cosine", 5, 1) == pytest.approx([0.2, 0.4, 0.341, 0.2, 0.0586], abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "one_cycle", "warm_up": 1.0}, "warms up by itself"),
        ({"schedule": "cosine", "warm_up": 1.0}, "no shorter than training"),
        ({"average": 1.0}, "average must be"),
        ({"teacher": []}, "teacher must be a list of one model or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(noise, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit(TinySqueezeNet(), noise, epochs=1, progress=False, **settings)


def test_scales_shifts_and_biases_do_not_decay(noise):
    """With no gradient to follow, what decays shrinks, and the rest stays."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(10))
    model(noise[0][0])
    nn.init.ones_(model[0].bias)
    optimizer = sgd(model, 0.1, 0.0, 0.5, decay_all=False)
    before = copy.deepcopy(model.state_dict())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = model.state_dict()
    for name in ("0.weight", "3.weight"):
        torch.testing.assert_close(after[name], before[name] * 0.95)
    for name in ("0.bias", "1.weight", "1.bias", "3.bias"):
        assert torch.equal(after[name], before[name])


def test_the_model_ends_with_the_average_of_its_steps():
    """One weight w with the loss's gradient g: the average of 1 step and of 2 by hand."""
    torch.manual_seed(0)
    x, y = torch.randn(16, 4), torch.randint(3, (16,))
    start = nn.Linear(4, 3)
    steps = []
    for count in (1, 2, 3):
        steps.append(copy.deepcopy(start))
        fit(steps[-1], [(x, y)], epochs=count, lr=0.5, **QUIET)
    followed = copy.deepcopy(start)
    fit(followed, [(x, y)], epochs=3, lr=0.5, average=0.75, **QUIET)
    expected = steps[0].weight
    for step in steps[1:]:
        expected = 0.75 * expected + 0.25 * step.weight
    torch.testing.assert_close(followed.weight, expected)


class Tables(nn.Module):
    """A network that reads an index table and a causal mask, and holds a frozen one of these."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 10)
        self.places = nn.Parameter(torch.randn(36, 8))
        self.register_buffer("index", torch.arange(35, -1, -1))
        self.register_buffer("mask", torch.full((36, 36), -torch.inf).triu(1))
        self.frozen = nn.Parameter(self.mask.clone(), requires_grad=False)

    def forward(self, x):
        x = self.norm(self.conv(x)).flatten(2).mT + self.places[self.index]
        scores = x @ x.mT
        return self.fc(((scores + self.mask + self.frozen).softmax(-1) @ x).mean(1))


@pytest.mark.parametrize("decay", [0.9, 0.98])
def test_an_average_leaves_tables_and_masks_as_they_are(decay):
    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 8, 8), torch.arange(8))]
    model = Tables()
    before = copy.deepcopy(model.state_dict())
    history = fit(model, batches, batches, epochs=4, average=decay, **QUIET)
    for name in ("index", "mask", "frozen"):
        assert torch.equal(model.state_dict()[name], before[name]), name
    assert history["val_loss"].notna().all()
    assert model.norm.num_batches_tracked == 4


def test_running_statistics_are_averaged_too():
    """A norm that no weight stands before: its statistics are those of the data, step by step."""
    torch.manual_seed(0)
    x, y = torch.randn(16, 4) + 3, torch.randint(3, (16,))
    start = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    followed = copy.deepcopy(start)
    fit(followed, [(x, y)], epochs=2, average=0.75, **QUIET)
    first = 0.1 * x.mean(0)
    second = 0.9 * first + 0.1 * x.mean(0)
    torch.testing.assert_close(followed[0].running_mean, 0.75 * first + 0.25 * second)


def test_validation_judges_the_average(digits):
    torch.manual_seed(0)
    model = insert_batch_norm(TinySqueezeNet(), Loader(digits.train))
    history = fit(
        model,
        Loader(digits.train, 64, shuffle=True),
        Loader(digits.val),
        epochs=2,
        average=0.9,
        progress=False,
    )
    assert history["val_accuracy"].iloc[-1] == evaluate(model, Loader(digits.val)).accuracy


def test_views_are_the_same_every_time_and_at_every_size(digits, views):
    x, y = next(iter(views))
    assert x.shape == (32, 3, 32, 32) and y.shape == (32,)
    some = torch.arange(4)
    again = Views(digits.val, 8, views=3, seed=5, flip=False)
    assert torch.equal(views.view(2, some), again.view(2, some))
    assert not torch.equal(views.view(1, some), views.view(2, some))
    larger = Views(digits.val, 8, views=3, seed=5, flip=False, size=64).view(2, some)
    back = nn.functional.interpolate(larger, size=(32, 32), mode="area")
    assert (back - views.view(2, some)).abs().mean() < 0.1


def test_views_are_crops_of_the_padded_image(digits, views):
    """One image and one view, cut out by hand."""
    padded = nn.functional.pad(digits.val.images[7:8], (4,) * 4)
    row, column = int(views.rows[1, 7]), int(views.columns[1, 7])
    by_hand = normalise(padded[..., row : row + 32, column : column + 32])
    assert torch.equal(views.view(1, torch.tensor([7])), by_hand)


@pytest.mark.parametrize(
    ("images", "settings", "error", "message"),
    [
        (lambda val: val.images, {}, TypeError, "Views serves an ImageSet, .* not Tensor"),
        (lambda val: val[:0], {}, ValueError, "is empty"),
        (lambda val: val, {"views": 0}, ValueError, "views must be at least 1, not 0"),
        (lambda val: val, {"flip": "no"}, TypeError, "flip must be True or False"),
        (lambda val: val, {"views": 2.0}, TypeError, "views must be a whole number, not 2.0"),
        (lambda val: val, {"seed": 0.5}, TypeError, "seed must be a whole number, not 0.5"),
        (lambda val: val, {"seed": 2**64}, ValueError, "seed must be at least .* and below"),
    ],
)
def test_views_of_nothing_are_refused(digits, images, settings, error, message):
    with pytest.raises(error, match=message):
        Views(images(digits.val), **settings)


def test_views_know_themselves_apart(digits, views):
    same = Views(digits.val, 32, views=3, seed=5, flip=False)
    assert views.fingerprint() == same.fingerprint()
    others = [
        Views(digits.val, 32, views=3, seed=6, flip=False),
        Views(digits.val, 32, views=4, seed=5, flip=False),
        Views(digits.val, 32, views=3, seed=5, flip=True),
        views.answered(torch.zeros(3, len(digits.val), 10)),
    ]
    assert len({views.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_answers_are_what_the_teacher_says_of_each_view(digits, views):
    torch.manual_seed(0)
    teacher = TinySqueezeNet()
    scores = answers(teacher, views, batch_size=50, progress=False)
    assert scores.shape == (3, len(digits.val), 10) and scores.dtype == torch.float16
    some = torch.tensor([3, 70])
    with evaluation_mode(teacher), torch.no_grad():
        expected = teacher(views.view(1, some))
    torch.testing.assert_close(scores[1, some].float(), expected, atol=0.02, rtol=0.02)
    assert teacher.training
    for _, y, given in views.answered(scores):
        assert given.shape == (len(y), 10)


def test_the_bar_of_answers_is_closed_where_the_teacher_fails(views, monkeypatch):
    closed = []
    monkeypatch.setattr("prunekit.progress.tqdm.close", lambda bar: closed.append(bar))
    # Held, the error keeps the bar alive, which is closed anyway where nothing holds it.
    with pytest.raises(ValueError, match="the teacher does not run on the images") as error:
        answers(nn.Conv2d(7, 3, 1), views, progress=False)
    assert len(closed) == 1, error


def test_answers_beforehand_teach_as_the_teacher_itself_does(views):
    torch.manual_seed(0)
    teacher, student = TinySqueezeNet(), TinySqueezeNet()
    student.classifier[0] = nn.Identity()  # dropout would draw other numbers
    settings = {"epochs": 2, "lr": 0.01, "teacher_weight": 0.9} | QUIET
    online, beforehand = copy.deepcopy(student), copy.deepcopy(student)
    torch.manual_seed(3)
    fit(online, views, teacher=teacher, **settings)
    torch.manual_seed(3)
    fit(beforehand, views.answered(answers(teacher, views, progress=False)), **settings)
    for one, other in zip(online.parameters(), beforehand.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0.05)


def test_several_teachers_are_averaged():
    torch.manual_seed(0)
    x, y = torch.randn(32, 4), torch.zeros(32, dtype=torch.long)
    first, second, mean, student = (nn.Linear(4, 3) for _ in range(4))
    with torch.no_grad():
        mean.weight.copy_((first.weight + second.weight) / 2)
        mean.bias.copy_((first.bias + second.bias) / 2)
    settings = {"epochs": 20, "lr": 0.1} | QUIET
    of_both, of_mean = copy.deepcopy(student), copy.deepcopy(student)
    fit(of_both, [(x, y)], teacher=[first, second], **settings)
    fit(of_mean, [(x, y)], teacher=mean, **settings)
    torch.testing.assert_close(of_both.weight, of_mean.weight, atol=3e-3, rtol=0)


def test_answers_that_do_not_fit_are_refused(views):
    with pytest.raises(ValueError, match=r"shape \(3 views, \d+ images, classes\), not \(2, 4\)"):
        views.answered(torch.zeros(2, 4))
    for bad in ([1], torch.zeros(3, len(views.images), 7, dtype=torch.int64)):
        with pytest.raises(
            TypeError, match=r"answers must be a tensor of scores, .* gives it, not"
        ):
            views.answered(bad)
    taught = views.answered(torch.zeros(3, len(views.images), 7))
    with pytest.raises(ValueError, match=r"the teacher gives .* they must be alike"):
        fit(TinySqueezeNet(), taught, progress=False)
    with pytest.raises(ValueError, match="leave out teacher"):
        fit(TinySqueezeNet(), taught, teacher=TinySqueezeNet(), progress=False)


def test_what_comes_third_is_left_out_where_nothing_is_learnt(views):
    torch.manual_seed(0)
    model = TinySqueezeNet()
    taught = views.answered(torch.zeros(3, len(views.images), 10))
    torch.manual_seed(0)
    alone = evaluate(model, views).accuracy
    torch.manual_seed(0)
    assert evaluate(model, taught).accuracy == alone

"""Training learns, stops cleanly, and says what is wrong."""

import copy

import pytest
import torch
from torch import nn

from prunekit import prune
from prunekit.data import Loader, load_dataset
from prunekit.execution import fastest_layout
from prunekit.models import TinySqueezeNet, freeze_features, squeezenet
from prunekit.training import Interrupted, evaluate, fit


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


class Batches(list):
    """A loader of given batches."""


def test_training_learns_the_digits(digits):
    torch.manual_seed(0)
    model = TinySqueezeNet()
    before = evaluate(model, Loader(digits.val))
    history = fit(
        model,
        Loader(digits.train, 32, shuffle=True),
        Loader(digits.val),
        epochs=6,
        lr=0.02,
        progress=False,
    )
    after = evaluate(model, Loader(digits.val))
    assert before.accuracy < 0.3
    assert after.accuracy > 0.85
    assert history["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert history["val_accuracy"].iloc[-1] == after.accuracy
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_the_same_seed_gives_the_same_weights(digits):
    weights = []
    for _ in range(2):
        torch.manual_seed(7)
        model = TinySqueezeNet()
        fit(model, Loader(digits.train, 64, shuffle=True, augment=True), epochs=0.2, progress=False)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_accuracy_and_loss_by_hand():
    """Logits (0, ln 3): probabilities 1/4 and 3/4, so the losses are ln 4 and ln 4/3."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.tensor([3.0, 9.0]).log() - torch.tensor(3.0).log())
    result = evaluate(model, [(torch.zeros(3, 1, 1, 1), torch.tensor([0, 1, 1]))])
    expected = (torch.tensor([4, 4 / 3, 4 / 3]).log().mean()).item()
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.loss == pytest.approx(expected)
    assert result.examples == 3


def test_part_of_an_epoch_takes_that_share_of_the_steps(digits):
    history = fit(TinySqueezeNet(), Loader(digits.train, 100), epochs=1.25, progress=False)
    assert history["steps"].tolist() == [13, 3]


def test_frozen_features_stay_and_the_classifier_moves():
    torch.manual_seed(0)
    model = freeze_features(squeezenet())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batches = Batches([(torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3]))] * 2)
    fit(model, batches, epochs=1, lr=0.1, progress=False)
    moved = {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}
    assert moved == {"classifier.1.weight", "classifier.1.bias"}


def test_ctrl_c_is_an_exception_that_holds_the_history_so_far(digits):
    class Interrupting(Loader):
        epochs = 0

        def __iter__(self):
            self.epochs += 1
            for index, batch in enumerate(super().__iter__()):
                if self.epochs == 2 and index == 1:
                    raise KeyboardInterrupt
                yield batch

    model = TinySqueezeNet().eval()
    with pytest.raises(Interrupted, match="in epoch 2") as raised:
        fit(model, Interrupting(digits.val, 60), epochs=3, progress=False)
    assert isinstance(raised.value, KeyboardInterrupt)
    assert raised.value.history["epoch"].tolist() == [1]
    assert not model.training


def test_the_mode_of_the_model_is_kept(digits):
    model = TinySqueezeNet().eval()
    fit(model, Loader(digits.val), epochs=1, progress=False)
    assert not model.training
    evaluate(model.train(), Loader(digits.val))
    assert model.training


def test_every_module_is_in_the_mode_it_had_and_all_are_trained_meanwhile():
    """Torch's own convention: ``model.train()`` leaves out no module but one that overrides it."""

    class Steady(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 8, 8) + 2, torch.arange(8))]
    model = nn.Sequential(
        *(nn.BatchNorm2d(3), Steady(3), nn.Dropout(), nn.Flatten(), nn.Linear(192, 10))
    )
    model.train()
    model[0].eval()
    fit(model, batches, batches, epochs=2, average=0.9, progress=False)
    assert [module.training for module in model] == [False, False, True, True, True]
    assert model.training
    assert model[0].running_mean.min() > 0
    assert not model[1].running_mean.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0 and finite, not 0"),
        ({"lr": -1}, "lr must be above 0 and finite, not -1"),
        ({"schedule": "sawtooth"}, "schedule must be one of one_cycle, cosine, constant"),
    ],
)
def test_settings_out_of_range_are_refused(digits, settings, message):
    with pytest.raises(ValueError, match=message):
        fit(TinySqueezeNet(), Loader(digits.val), progress=False, **settings)


def test_an_exploding_loss_is_reported():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    batches = Batches([(torch.randn(2, 1, 2, 2), torch.tensor([0, 1]))] * 4)
    with pytest.raises(ValueError, match="lower the learning rate"):
        fit(model, batches, lr=1e30, schedule="constant", progress=False)


def test_a_gradient_that_is_no_number_reaches_no_weight():
    """The square root of zero is finite, and its slope is not."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batches = Batches([(torch.randn(2, 1, 2, 2), torch.tensor([0, 1]))] * 4)
    with pytest.raises(ValueError, match="the gradient became nan: lower the learning rate"):
        fit(model, batches, loss=lambda o, _: (0 * o).square().sum(1).sqrt(), progress=False)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def test_nan_outputs_and_empty_loaders_are_reported():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="NaN"):
        evaluate(model, [(torch.full((2, 1, 2, 2), float("nan")), torch.tensor([0, 1]))])
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(model, [])
    with pytest.raises(ValueError, match="nothing to train"):
        fit(model, Batches(), progress=False)


def test_a_model_with_nothing_to_train_is_refused(digits):
    model = TinySqueezeNet().requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train"):
        fit(model, Loader(digits.val), progress=False)


class Viewing(nn.Module):
    """A network that asks for the usual memory layout, as a LeNet does."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(8))
        self.head = nn.Linear(8 * 9, 10)

    def forward(self, x):
        return self.head(self.features(x).view(x.size(0), -1))


def test_a_network_that_views_a_map_is_trained_ranked_and_pruned(noise):
    torch.manual_seed(0)
    model = Viewing()
    fit(model, noise, noise, epochs=2, progress=False)
    history = prune(model, noise, noise, "taylor", 0.5, 4, progress=False)
    assert history.model.features[0].out_channels == 4
    assert evaluate(history.model, noise).examples == 10


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_finding_the_layout_leaves_the_images_as_they_are(layout):
    x = torch.randn(4, 3, 8, 8).to(memory_format=layout)
    before = x.clone()
    fastest_layout(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3)), x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("make", [TinySqueezeNet, Viewing])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_keep_the_layout_they_had(noise, layout, make):
    """Viewing is trained in the usual layout and the other channels-last, 1x1 kernels with it."""
    model = make().to(memory_format=layout)
    before = [weight.stride() for weight in model.parameters()]
    fit(model, noise, progress=False)
    assert [weight.stride() for weight in model.parameters()] == before


class Shifted(nn.Module):
    """A map of shifts that counts its calls, and kernels over three dimensions beside it."""

    def __init__(self):
        super().__init__()
        self.deep, self.conv = nn.Conv3d(1, 2, 1), nn.Conv2d(3, 4, 3)
        self.register_buffer("shift", torch.zeros(1, 3, 8, 8))

    def forward(self, x):
        if self.training:
            self.shift += 1
        deep = self.deep(x.unsqueeze(1)).mean(dim=(1, 2, 3, 4))
        return self.conv(x + self.shift).mean(dim=(2, 3)) + deep.unsqueeze(1)


def test_a_network_of_images_may_hold_kernels_of_three_dimensions_and_maps():
    model, x, y = Shifted(), torch.randn(2, 3, 8, 8), torch.tensor([0, 1])
    shift = model.shift
    fit(model, [(x, y)], progress=False)
    assert model.shift is shift and bool((shift == 1).all())
    with pytest.raises(ValueError, match="labels must lie between 0 and 3"):
        fit(model, [(x, y + 7)], progress=False)
    assert model.shift is shift and bool((shift == 1).all())


def test_a_student_learns_what_its_teacher_says_and_not_the_labels():
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    said = teacher(x).argmax(1)
    wrong = (said + 1) % 3
    options = {"epochs": 200, "lr": 0.1, "schedule": "constant", "progress": False}
    fit(student, [(x, wrong)], teacher=teacher, teacher_weight=1.0, **options)
    assert (student(x).argmax(1) == said).float().mean() > 0.95


def test_a_teacher_with_no_weight_changes_nothing():
    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 32, 32), torch.arange(8))]
    alone = TinySqueezeNet()
    taught = copy.deepcopy(alone)
    for model, teacher in ((alone, None), (taught, TinySqueezeNet())):
        torch.manual_seed(1)
        fit(model, batches, teacher=teacher, teacher_weight=0.0, progress=False)
    for one, other in zip(alone.parameters(), taught.parameters(), strict=True):
        assert torch.equal(one, other)

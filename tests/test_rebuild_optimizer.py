"""What an optimiser remembers is cut with the weights: training goes on as if nothing had been."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Residual, random_networks, randomise, some_of_every_layer
from torch import nn, optim
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from prunekit import mask, rebuild, rebuild_optimizer, trace

MAKERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, torch.tensor(0.01), weight_decay=0.1, foreach=False),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "nadam": lambda p: optim.NAdam(p, 0.01),
    "rprop": lambda p: optim.Rprop(p, 0.01),
    "adagrad": lambda p: optim.Adagrad(p, 0.01),
}
X = torch.randn(6, 3, 8, 8, dtype=torch.double, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 5


def network() -> nn.Module:
    torch.manual_seed(1)
    body = [
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        Residual(6, 4, 4),
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)]
    return randomise(nn.Sequential(*body, *head)).double()


def step(model: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.zero_grad()
    F.cross_entropy(model(X), Y).backward()
    optimizer.step()


def trained_on(make: Callable[..., optim.Optimizer]) -> tuple[dict, dict, dict]:
    """What a small network starts from, what it comes to, and what is left of a masked one.

    In the masked one what is gone is put back to zero after each step, as momentum would move it.
    """
    model = network()
    optimizer = make(model.parameters())
    for _ in range(3):
        step(model, optimizer)
    graph = trace(model, X)
    remove = some_of_every_layer(graph, 0.7, seed=3)
    assert len(remove) > 1
    small, masked = rebuild(model, graph, remove), mask(model, graph, remove)
    ours = rebuild_optimizer(optimizer, small, model, graph, remove)
    theirs = make(masked.parameters())
    theirs.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy(small.state_dict())
    for _ in range(3):
        step(small, ours)
        step(masked, theirs)
        masked.load_state_dict(mask(masked, graph, remove).state_dict())
    return before, small.state_dict(), rebuild(masked, graph, remove).state_dict()


@pytest.mark.parametrize("name", MAKERS)
def test_what_stays_is_updated_as_in_a_masked_network(name):
    before, small, masked = trained_on(MAKERS[name])
    for key, tensor in small.items():
        torch.testing.assert_close(tensor, masked[key], rtol=1e-6, atol=1e-9)
    assert any(not torch.equal(before[key], small[key]) for key in before)


def test_a_step_that_depends_on_the_whole_tensor_is_another_one():
    """Adafactor's goes with the root mean square of the tensor, to which zeros belong."""
    before, small, masked = trained_on(lambda p: optim.Adafactor(p, 0.1))
    key = "0.weight"
    step, apart = (small[key] - other[key] for other in (before, masked))
    assert 0.001 < apart.norm() / step.norm() < 1


def two_weights() -> tuple[nn.Module, torch.Tensor]:
    model, x = (
        nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)),
        torch.ones(1, 1),
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[2.0], [5.0]]))
        model[1].weight.copy_(torch.tensor([[3.0, 7.0]]))
    return model, x


def test_momentum_by_hand():
    """The output is 2 * 3 + 5 * 7, so the gradients of the first filter are 3 and 2."""
    model, x = two_weights()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    model(x).sum().backward()
    optimizer.step()
    small = rebuild(model, x, {"0": [1]})
    optimizer = rebuild_optimizer(optimizer, small, model, x, {"0": [1]})
    (first, second) = small.parameters()
    assert optimizer.state[first]["momentum_buffer"].item() == 3
    assert optimizer.state[second]["momentum_buffer"].item() == 2
    small(x).sum().backward()
    optimizer.step()
    # They stood at 1.7 and 2.8, the new gradients are 2.8 and 1.7.
    assert first.item() == pytest.approx(1.7 - 0.1 * (0.5 * 3 + 2.8))
    assert second.item() == pytest.approx(2.8 - 0.1 * (0.5 * 2 + 1.7))


def test_moments_of_adam_by_hand():
    model, x = two_weights()
    optimizer = optim.Adam(model.parameters(), lr=0.1, betas=(0.5, 0.5), eps=0)
    model(x).sum().backward()
    optimizer.step()  # each weight falls by the rate, as the moments are those of one gradient
    small = rebuild(model, x, {"0": [1]})
    optimizer = rebuild_optimizer(optimizer, small, model, x, {"0": [1]})
    first = small[0].weight
    kept = optimizer.state[first]
    assert (kept["exp_avg"].item(), kept["exp_avg_sq"].item(), kept["step"]) == (1.5, 4.5, 1)
    small(x).sum().backward()
    optimizer.step()
    gradient = 2.9
    mean, square = (0.25 * 3 + 0.5 * gradient) / 0.75, (0.25 * 9 + 0.5 * gradient**2) / 0.75
    assert first.item() == pytest.approx(1.9 - 0.1 * mean / square**0.5)


@settings(max_examples=settings.default.max_examples // 4)
@given(random_networks(), st.integers(0, 2**16))
def test_every_moment_is_cut_as_its_weight_in_random_networks(model, seed):
    """Moments equal to the weights remain equal to them."""
    graph = trace(model, X)
    remove = some_of_every_layer(graph, 0.7, seed)
    small = rebuild(model, graph, remove)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = parameter.detach().clone()
    optimizer = rebuild_optimizer(optimizer, small, model, graph, remove)
    for parameter in small.parameters():
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], parameter)


def test_groups_settings_and_the_old_optimiser_stay_as_they_were():
    model = network()
    groups = [
        {"params": model[0].parameters(), "lr": 0.5},
        {"params": model[3].first.parameters(), "name": "frozen slowly", "weight_decay": 0.1},
    ]
    optimizer = optim.SGD(groups, 0.1, momentum=0.9)
    step(model, optimizer)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)
    step(model, optimizer)
    scheduler.step()
    before = copy.deepcopy(optimizer.state_dict())
    small = rebuild(model, X, {"0": [1]})
    new = rebuild_optimizer(optimizer, small, model, X, {"0": [1]})
    shapes = [[p.shape for p in group["params"]] for group in new.param_groups]
    assert shapes == [[(5, 3, 3, 3)], [(4, 5, 3, 3)]]
    told = [{k: v for k, v in one.items() if k != "params"} for one in new.param_groups]
    assert told == [
        {k: v for k, v in one.items() if k != "params"} for one in optimizer.param_groups
    ]
    step(small, new)
    again = optim.lr_scheduler.StepLR(new, 1)
    again.load_state_dict(scheduler.state_dict())
    again.step()
    assert new.param_groups[0]["lr"] == pytest.approx(0.005)
    after = optimizer.state_dict()
    torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)
    assert after["param_groups"] == before["param_groups"]


def test_moments_of_rows_and_columns_are_cut_where_they_have_them():
    model = network()
    optimizer = optim.Adafactor(model.parameters(), 0.1)
    step(model, optimizer)
    small = rebuild(model, X, {"0": [1, 2]})
    new = rebuild_optimizer(optimizer, small, model, X, {"0": [1, 2]})
    old, kept = optimizer.state[model[6].weight], new.state[small[6].weight]
    assert torch.equal(kept["row_var"], old["row_var"])  # a number for each of the five classes
    assert torch.equal(kept["col_var"], old["col_var"][..., [0, 3, 4, 5]])
    step(small, new)


def test_parameters_of_others_and_new_ones():
    model, scale = network(), nn.Parameter(torch.ones(2))
    optimizer = optim.SGD([*model.parameters(), scale], 0.1, momentum=0.9)
    (F.cross_entropy(model(X), Y) + scale.sum()).backward()
    optimizer.step()
    small = rebuild(model, X, {"0": [1]})
    small[3].first.bias = nn.Parameter(torch.zeros(4).double())  # as a repair may put one in
    new = rebuild_optimizer(optimizer, small, model, X, {"0": [1]})
    trained = new.param_groups[0]["params"]
    assert trained[-1] is scale and len(trained) == len(list(small.parameters()))
    assert new.state[scale]["momentum_buffer"].tolist() == [1, 1]


def test_an_exponential_average_is_rebuilt_as_the_network_is():
    model = network()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    optimizer = optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        step(model, optimizer)
        average.update_parameters(model)
    remove = {"0": [1, 4], "3.first": [2]}
    small = rebuild(model, X, remove)
    small_average = rebuild(average, X, {f"module.{name}": gone for name, gone in remove.items()})
    assert small_average.n_averaged == 2
    of_module = rebuild(average.module, X, remove).state_dict()
    torch.testing.assert_close(small_average.module.state_dict(), of_module, rtol=0, atol=0)
    small_average.update_parameters(small)
    mean = (small[6].weight + of_module["6.weight"]) / 2
    torch.testing.assert_close(small_average.module[6].weight, mean)


def test_what_is_not_remembered_by_parameter_is_refused():
    model, x = two_weights()
    small = rebuild(model, x, {"0": [1]})
    optimizer = optim.LBFGS(model.parameters())
    with pytest.raises(ValueError, match=r"LBFGS .* make a new one for the small network"):
        rebuild_optimizer(optimizer, small, model, x, {"0": [1]})
    optimizer = optim.SGD(model.parameters(), 0.1)
    for odd in (torch.zeros(2), torch.zeros(2, 3), [torch.zeros(2, 1)]):
        optimizer.state[model[0].weight] = {"history": odd}
        with pytest.raises(ValueError, match=r"SGD remembers 'history'.* cannot be cut with it"):
            rebuild_optimizer(optimizer, small, model, x, {"0": [1]})


def test_wrong_arguments_are_named():
    model = network()
    optimizer = optim.SGD(model.parameters(), 0.1)
    small = rebuild(model, X, {"0": [1]})
    with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer, not"):
        rebuild_optimizer(small, optimizer, model, X, {"0": [1]})
    with pytest.raises(ValueError, match=r"its 0\.weight is of shape \(5, 3, 3, 3\), and would be"):
        rebuild_optimizer(optimizer, small, model, X, {"0": [1, 2]})
    with pytest.raises(ValueError, match=r"its 0\.weight is missing"):
        rebuild_optimizer(optimizer, nn.Flatten(), model, X, {"0": [1]})
    with pytest.raises(ValueError, match="the SGD trains no parameter of this model"):
        other = optim.SGD(network().parameters(), 0.1)
        rebuild_optimizer(other, small, model, X, {"0": [1]})
    with pytest.raises(IndexError, match="0 has filters 0 to 5, not 6"):
        rebuild_optimizer(optimizer, small, model, X, {"0": [6]})

"""Models that cannot be read as they are end in one error that says what to pass instead."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import prunekit

X = torch.zeros(2, 3, 8, 8)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.Conv2d(8, 6, 3)), nn.Conv2d(6, 2, 3))


def with_part(change) -> nn.Module:
    model = plain()
    change(model[1][0])
    return model


def with_forward(model: nn.Module) -> nn.Module:
    model.forward = lambda x: x
    return model


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile()
    return model


MODELS = {
    "weight norm": (
        lambda: with_part(weight_norm),
        r"module '1\.0' .*remove_weight_norm\(model\.get_submodule\('1\.0'\), 'weight'\)",
    ),
    "spectral norm": (
        lambda: with_part(spectral_norm),
        r"module '1\.0' .*remove_spectral_norm\(model\.get_submodule\('1\.0'\), 'weight'\)",
    ),
    "torch's own pruning": (
        lambda: with_part(lambda part: prune.l1_unstructured(part, "bias", 0.5)),
        r"module '1\.0' .*prune\.remove\(model\.get_submodule\('1\.0'\), 'bias'\)",
    ),
    "parametrization": (
        lambda: with_part(parametrizations.weight_norm),
        r"remove_parametrizations\(model\.get_submodule\('1\.0'\), 'weight'\)",
    ),
    "data parallel": (lambda: nn.DataParallel(plain()), r"pass model\.module"),
    "compiled": (lambda: torch.compile(plain()), r"pass model\._orig_mod"),
    "compiled part": (
        lambda: nn.Sequential(torch.compile(plain())),
        r"module '0' .*pass model\.get_submodule\('0'\)\._orig_mod",
    ),
    "compiled in place": (lambda: compiled_in_place(plain()), r"before \.compile\(\)"),
    "scripted": (lambda: torch.jit.script(plain()), "scripted or traced from"),
    "traced": (lambda: torch.jit.trace(plain(), X), "scripted or traced from"),
    "exported": (
        lambda: torch.export.export(plain(), (X,)).module(),
        "the module that it was exported from",
    ),
    "quantised": (
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 4))),
        "module '0' is quantised.*prune first",
    ),
    # Where arguments are checked before tracing, the same is said in other words.
    "lazy": (lambda: nn.Sequential(nn.LazyConv2d(8, 3)), r"(no sizes|not known) yet.*: run"),
    "forward of its own": (lambda: with_forward(plain()), "define it in the class"),
}
OPERATIONS = {
    "trace": lambda model, _: prunekit.trace(model, X),
    "rebuild": lambda model, _: prunekit.rebuild(model, X, {"0": [1]}),
    "mask": lambda model, _: prunekit.mask(model, X, {"0": [1]}),
    "rank": lambda model, _: prunekit.rank(model, [(X, torch.zeros(2).long())], "taylor"),
    "save": lambda model, folder: prunekit.save(model, folder / "model.safetensors"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_model_that_is_not_plain_is_refused_with_what_to_pass(kind, operation, tmp_path):
    make, message = MODELS[kind]
    with pytest.raises(ValueError, match=message):
        OPERATIONS[operation](make(), tmp_path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_remedy_helps():
    model = with_part(weight_norm)
    with pytest.raises(prunekit.TraceError) as refusal:
        prunekit.trace(model, X)
    exec(str(refusal.value).partition("call ")[2], {"torch": torch, "model": model})
    assert list(prunekit.trace(model, X).prunable) == ["0", "1.0"]


def test_a_lazy_model_that_has_run_once_is_like_any_other():
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.Conv2d(8, 2, 1))
    model(X)
    assert prunekit.rebuild(model, X, {"0": [1, 2]})[1].num_features == 6


def test_what_is_inside_a_leaf_is_its_own_affair():
    @prunekit.channels.leaf
    class Sealed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = parametrizations.weight_norm(nn.Conv2d(6, 6, 1))

        def forward(self, x):
            return self.conv(x)

    model = nn.Sequential(*plain()[:2], Sealed())
    assert list(prunekit.trace(model, X).prunable) == ["0"]


@pytest.mark.parametrize("leaves", [nn.ReLU, [nn.ReLU], (nn.ReLU(),), "ReLU"])
def test_leaves_that_are_no_classes_are_refused(leaves):
    with pytest.raises(TypeError, match="leaves must be a tuple of classes"):
        prunekit.trace(plain(), X, leaves=leaves)


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module, not a function"):
        prunekit.trace(lambda x: x, X)


@pytest.mark.parametrize("layer", [nn.Conv2d(6, 4, 1), nn.Linear(8, 4)])
def test_a_single_layer_is_refused_with_what_to_do(layer):
    with pytest.raises(prunekit.TraceError, match=r"single \w+, .* into nn\.Sequential"):
        prunekit.trace(layer, X)
    assert not prunekit.trace(nn.Sequential(nn.Conv2d(3, 4, 1)), X).prunable


@pytest.mark.filterwarnings("ignore:Complex modules")
def test_complex_numbers_are_pruned_like_others():
    model = plain().to(torch.complex64).eval()
    x = torch.randn_like(X, dtype=torch.complex64)
    small = prunekit.rebuild(copy.deepcopy(model), x, {"0": [1]})
    torch.testing.assert_close(small(x), prunekit.mask(model, x, {"0": [1]})(x))


def test_numbers_of_a_generator_of_ones_own_are_refused():
    class Noisy(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + torch.randn(8, 1, 1, generator=torch.Generator())

    with pytest.raises(
        prunekit.TraceError, match="calls randn with a generator, which no graph can hold"
    ):
        prunekit.trace(nn.Sequential(Noisy(3, 8, 1)), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("name", ["meta", "graph", "code"])
def test_a_name_that_graphs_have_for_something_else_is_refused_with_what_to_do(name):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(name, nn.Conv2d(3, 4, 3))
            self.last = nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return self.last(self._modules[name](x)).mean((2, 3))

    batch = torch.zeros(2, 3, 8, 8), torch.tensor([0, 1])
    with pytest.raises(prunekit.TraceError, match=f"Named has '{name}', .*: rename it"):
        prunekit.rank(Named(), [batch], "activation_l2", progress=False)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (X.numpy(), r"an array of shape \(2, 3, 8, 8\) .*: pass torch\.from_numpy"),
        ((X, {"mask": X.numpy()}), r"an array of shape .*: pass torch\.from_numpy"),
        ((2, 3, 8, 8), r"with a tensor among them, not \(2, 3, 8, 8\)"),
        (None, "with a tensor among them, not None"),
    ],
)
def test_example_inputs_that_are_no_tensors_are_refused_as_such(inputs, said, tmp_path):
    with pytest.raises(TypeError, match=f"^example_inputs must .*{said}"):
        prunekit.trace(plain(), inputs)
    if inputs is not None:
        with pytest.raises(TypeError, match=f"^example_inputs must .*{said}"):
            prunekit.save(plain(), tmp_path / "model", example_inputs=inputs)


class Asks(nn.Sequential):
    def __init__(self, asked):
        super().__init__(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1))
        self.asked = asked

    def forward(self, x):
        return self.asked(super().forward(x))


ASKED = {
    "how long": lambda y: y / len(y),
    "one after the other": lambda y: sum(list(y)),
    "the rest of a shape": lambda y: y.new_zeros(y.shape[0], *y.shape[1:]) + y,
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_code_that_asks_sizes_is_told_to_pass_example_inputs_and_not_that_it_branches(
    asked, tmp_path
):
    with pytest.raises(prunekit.TraceError, match="pass example_inputs") as refusal:
        prunekit.save(Asks(asked), tmp_path / "model")
    assert "branches" not in str(refusal.value)
    prunekit.save(Asks(asked), tmp_path / "model", example_inputs=X)


@pytest.mark.parametrize("inputs", [None, X])
def test_code_that_branches_on_values_is_told_so(inputs, tmp_path):
    with pytest.raises(prunekit.TraceError, match="branches on the values of tensors"):
        prunekit.save(
            Asks(lambda y: y if y.mean() > 0 else -y), tmp_path / "model", example_inputs=inputs
        )

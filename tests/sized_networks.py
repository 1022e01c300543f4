"""Random networks whose forward passes compute with sizes, written as source text."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAMES = "xyz"
MODES = ["constant", "circular", "reflect", "replicate"]
FAILURES = (ArithmeticError, AttributeError, LookupError)
STARTS = [(2, 3, 6, 6), (1, 3, 6, 6), (3, 6, 6), (2, 3, 12), (3, 12), (4, 6)]
# t, o: tensors; n: a name; d, e: dimensions; k, j: small numbers; s: a size; v: a value made of
# sizes; shape: sizes that fit the tensor; grown: its sizes, those of 1 perhaps another.
LINES = """
{t} = {t} * ({v})
{t} = {t} / ({s})
{t} = {t} + ({v})
{t} = ({v}) - {t}
{t} = torch.relu({t})
{t} = {t}.view({shape})
{t} = {t}.view({shape})
{t} = {t}.reshape({shape})
{t} = torch.reshape({t}, ({shape},))
{t} = {t}.view({t}.shape[:{k}] + (-1,))
{t} = {t}.view({o}.shape)
{t} = {t}.transpose({d}, {e})
{t} = {t}.transpose({d}, {e}).contiguous().view({t}.shape)
{t} = {t}.movedim({d}, {e})
{t} = {t}.flip({d})
{t} = torch.roll({t}, {k}, {d})
{t} = {t}.flatten({d}, {e})
{t} = {t}.flatten({d})
{t} = {t}.unsqueeze({d})
{t} = {t}.squeeze()
{t} = {t}.squeeze({d})
{n} = {t}.chunk({k}, {d})[0]
{n} = {t}.chunk({s}, {d})[0]
{n} = torch.cat({t}.chunk({k}, {d})[::-1], {d})
{n} = {t}.split({s}, {d})[{j}]
{n} = torch.cat({t}.split({s}, {d})[::-1], {e})
{n} = {t}.narrow({d}, {j}, {s})
{n} = {t}.unbind({d})[{j}]
{n} = {t}[:, {j}:{s}]
{n} = {t}[:, :-{k}]
{n} = {t}[..., :{s}]
{n} = {t}[:, [1, 0]]
{n} = {t}[:, ::{k}]
{n} = {t}[{j}]
{n} = torch.stack([{t}, {o}], {d})
{n} = torch.stack([{t}, {t} * 2], {d})
{n} = torch.cat([{t}, {o}], {d})
{n} = torch.cat([{t}, {t}], {d})
{n} = {t} + {o}
{n} = {t} * {o}
{n} = {t} * {o}.mean({d}, keepdim=True)
{n} = {t}.expand_as({o})
{n} = {t}.expand({grown})
{n} = {t}.mean({d}, keepdim=True).expand({grown})
{n} = {t}.repeat({grown})
{n} = {t}.mean({d})
{n} = {t}.mean({d}, keepdim=True)
{n} = {t}.sum({d}) / ({s})
{n} = {t}.amax({d})
{t} = F.pad({t}, ({j}, {k}))
{t} = F.pad({t}, ({j}, {k}, {k}, {j}), value={s})
{t} = F.pad({t}, (0, 0, {j}, {k}), mode="{mode}")
{t} = F.pad({t}, (0, 0, 0, 0, {j}, {k}), mode="{mode}")
{t} = F.pad({t}, ({j}, {k}), mode="{mode}")
{t} = F.pad({t}, (0, 0, 0, 0, {j}, -{k}))
{t} = F.pad({t}, (0, {s}))
{t} = F.max_pool1d({t}, {k})
{t} = F.avg_pool2d({t}, {k})
{t} = F.adaptive_avg_pool1d({t}, {s})
{t} = F.adaptive_max_pool2d({t}, {s})
{t} = F.interpolate({t}, size={s})
{t} = F.softmax({t}, {d})
{t} = F.layer_norm({t}, {t}.shape[{d}:])
{t} = F.group_norm({t}, {s})
{n} = {t} * torch.ones({s}, dtype={t}.dtype)
{n} = {t} * torch.arange({s})
{n} = {t} + torch.ones({s}, dtype={t}.dtype).sum()
b, c = {t}.shape
b, c, h = {t}.shape
b, c, h, w = {t}.shape
{t} = {t} @ {o}.transpose(-1, -2)
""".strip().splitlines()
FILTERS = """
nn.Conv2d(C3, K, 3, padding=1, padding_mode="circular")
nn.Conv2d(C3, K, 1, groups=G)
nn.Conv2d(C3, K, 2, stride=2)
nn.ConvTranspose2d(C3, K, 2, stride=2, groups=G)
nn.Conv1d(C2, K, 3, padding=1)
nn.Conv1d(C2, K, 1, groups=G)
nn.Linear(C1, K)
nn.Linear(C1, K, bias=False)
""".strip().splitlines()
LAYERS = [
    *FILTERS,
    *"""
nn.BatchNorm2d(C3)
nn.BatchNorm1d(C2)
nn.BatchNorm1d(C1)
nn.InstanceNorm2d(C3, affine=True)
nn.InstanceNorm1d(C2, affine=True)
nn.GroupNorm(G, C3)
nn.GroupNorm(G, C2)
nn.LayerNorm(C1)
nn.PReLU(C3)
nn.MaxPool1d(2, return_indices=False)
nn.MaxPool2d(2, 1)
nn.AvgPool1d(2, 1)
nn.AdaptiveAvgPool1d(K)
nn.AdaptiveAvgPool2d(2)
nn.AdaptiveMaxPool2d((None, 2))
nn.Upsample(scale_factor=2)
nn.CircularPad2d(1)
nn.ReflectionPad1d(1)
nn.ConstantPad1d(1, 0.5)
nn.ConstantPad2d((0, 1, 1, 0), 0.5)
nn.PixelShuffle(2)
nn.PixelUnshuffle(2)
nn.Flatten()
nn.Flatten(0)
""".strip().splitlines(),
]


class Writer:
    """Writes a forward pass line by line, and keeps the lines that run on an example."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        torch.manual_seed(seed)
        self.model = nn.Module().double().eval()
        self.model.layers = nn.ModuleList()
        self.lines: list[str] = []
        self.example = torch.randn(self.random.choice(STARTS), dtype=torch.double)
        self.scope: dict[str, object] = {"self": self.model, "x": self.example}

    def keep(self, line: str) -> bool:
        """Keep a line if it runs and its tensors are of moderate size."""
        scope = dict(self.scope)
        try:
            with torch.no_grad():
                exec(line, {"torch": torch, "F": F}, scope)
        except (*FAILURES, RuntimeError, TypeError, ValueError):
            return False
        tensors = [value for value in scope.values() if isinstance(value, Tensor)]
        if any(not 0 < t.numel() < 5000 or t.dim() > 6 for t in tensors):
            return False
        self.scope = scope
        self.lines.append(line)
        return True

    def add_layer(self, name: str, kinds: list[str] = LAYERS) -> bool:
        """Put a layer where the tensor ``name`` is."""
        x = self.scope[name]
        sizes = {f"C{back}": x.shape[-back] for back in (1, 2, 3) if back <= x.dim()}
        groups = self.random.choice([1, 1, 2, 3, *sizes.values()])
        width = self.random.choice([2, 4, 6, 8]) * (groups if groups < 4 else 1)
        sizes |= {"K": groups if groups > 3 else width, "G": groups, "nn": nn}
        try:
            layer = eval(self.random.choice(kinds), sizes).double().eval()
        except (NameError, ValueError):
            return False
        for key, tensor in layer.state_dict().items():
            if tensor.dim() == 1 and "bias" not in key:
                nn.init.uniform_(tensor, 0.5, 1.5)
        self.model.layers.append(layer)
        kept = self.keep(f"{name} = self.layers[{len(self.model.layers) - 1}]({name})")
        if not kept:
            del self.model.layers[-1]
        return kept

    def add_tensor(self, name: str) -> bool:
        """A buffer that sorts, or a parameter that scales, one dimension."""
        x, attribute = self.scope[name], f"t{len(self.lines)}"
        if x.dim() == 0:
            return False
        dim = self.random.randrange(x.dim())
        if self.random.random() < 0.5:
            self.model.register_buffer(attribute, torch.randperm(x.shape[dim]))
            return self.keep(f"{name} = {name}[{':, ' * dim}self.{attribute}]")
        shape = [size if d == dim else 1 for d, size in enumerate(x.shape)]
        scale = torch.rand(shape, dtype=torch.double) + 0.5
        self.model.register_parameter(attribute, nn.Parameter(scale))
        return self.keep(f"{name} = {name} * self.{attribute}")

    def add_line(self, name: str) -> bool:
        x, pick = self.scope[name], self.random.choice
        template, dims = pick(LINES), max(x.dim(), 1)
        return self.keep(
            template.format(
                **{"t": name, "o": pick(self.tensors()), "n": pick(NAMES), "mode": pick(MODES)},
                **{letter: self.random.randrange(-dims, dims) for letter in "de"},
                **{"k": pick([1, 2, 2, 3, 4]), "j": pick([0, 0, 1])},
                **{"s": self.size_of(pick([2, 4, *x.shape])), "v": self.value()},
                shape=self.shape(x) if "{shape}" in template else "",
                grown=", ".join(
                    self.size_of(pick([1, 2, 4, 8]) if size == 1 else size) for size in x.shape
                ),
            )
        )

    def tensors(self) -> list[str]:
        return [name for name in NAMES if isinstance(self.scope.get(name), Tensor)]

    def size(self, depth: int = 2) -> str:
        """An expression of sizes."""
        pick, chance = self.random.choice, self.random.random
        if depth and chance() < 0.5:
            other = pick(["1", "2", "2", "3", "4"]) if chance() < 0.7 else self.size(depth - 1)
            return f"({self.size(depth - 1)} {pick(['//', '//', '*', '*', '+', '-', '%'])} {other})"
        name = pick(self.tensors())
        dims = max(self.scope[name].dim(), 1)
        dim = self.random.randrange(-dims, dims)
        options = [f"{name}.shape[{dim}]", f"{name}.size({dim})"]
        options += [letter for letter in "bchw" if letter in self.scope]
        if chance() < 0.1:
            options = [f"{name}.numel()", f"{name}.shape[1:].numel()", f"{name}.dim()"]
        if chance() < 0.1 and len(self.model.layers):
            layer = f"self.layers[{self.random.randrange(len(self.model.layers))}]"
            options = [f"{layer}.{size}" for size in ("out_channels", "in_channels", "groups")]
            options += [f"{layer}.weight.shape[0]", f"{layer}.bias.shape[0]"]
        return pick(options)

    def size_of(self, value: int) -> str:
        """An expression that is ``value`` on the example, if one is found."""
        for _ in range(15):
            expression = self.size()
            try:
                if eval(expression, {}, dict(self.scope)) == value:
                    return expression
            except FAILURES:
                continue
        return str(value)

    def value(self) -> str:
        """A number made of sizes."""
        size = self.size()
        return self.random.choice([size, f"{size} ** 0.5", f"({size} > 4)", f"({size} == 6)"])

    def shape(self, x: Tensor) -> str:
        """Sizes that fit: a dimension divided, two merged, and perhaps one left open."""
        sizes, pick = list(x.shape) or [1], self.random.choice
        if self.random.random() < 0.6:
            at = self.random.randrange(len(sizes))
            divisor = pick([d for d in range(1, sizes[at] + 1) if sizes[at] % d == 0])
            sizes[at : at + 1] = [divisor, sizes[at] // divisor]
        if len(sizes) > 1 and self.random.random() < 0.5:
            at = self.random.randrange(len(sizes) - 1)
            sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
        named = [self.size_of(size) for size in sizes]
        if self.random.random() < 0.5:
            named[self.random.randrange(len(named))] = "-1"
        return ", ".join(named)


def sized_network(seed: int, length: int) -> tuple[nn.Module, Tensor]:
    """A network of some ``length`` lines in float64, and an example input that it runs on.

    The lines are in its attribute ``source``.
    """
    writer = Writer(seed)
    kinds = [writer.add_layer, writer.add_line, writer.add_line, writer.add_tensor]
    for _ in range(writer.random.choice([1, 2, 2])):
        while not writer.add_layer("x", FILTERS):
            pass
    for _ in range(length * 20):
        writer.random.choices(kinds, [3, 4, 4, 1])[0](writer.random.choice(writer.tensors()))
        if len(writer.lines) > length:
            break
    any(writer.add_layer("x", FILTERS) for _ in range(50))  # what reads the channels
    source = "\n    ".join(["def forward(self, x):", *writer.lines, "return x"])
    scope = {"torch": torch, "F": F}
    exec(source, scope)
    kind = type("SizedNetwork", (nn.Module,), {"forward": scope["forward"]})
    writer.model.__class__ = kind
    writer.model.source = source
    return writer.model, writer.example

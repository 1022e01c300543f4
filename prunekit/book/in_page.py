"""Networks as scripts that a page computes: weights in eight bits, and the steps of a pass.

The page's engine is ``book/_static/lab/engine.js``. It knows the steps that are here, and no more.
"""

from __future__ import annotations

import base64
import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from prunekit.execution import evaluation_mode
from prunekit.repair import fold_batch_norm
from prunekit.storage.files import replacing

CALL = "prunekitLab.network("
UNCHANGED = (nn.Dropout, nn.Identity)
ACTIVATIONS = {nn.ReLU: "relu", nn.ReLU6: "relu6"}
APPLIED = {"relu": F.relu, "relu6": F.relu6, None: lambda x: x}


class _Value(NamedTuple):
    """What a node of the traced network is to the page: the value of a step, and how it is read."""

    step: int
    pads: tuple[int, int, int, int] | None = None  # top, left, bottom, right
    each: int | None = None  # numbers an anchor


class Program(NamedTuple):
    """A pass of a network.

    Attributes
    ----------
    layers : dict
        Convolutions by name, in order.
    steps : list of dict
        Each with its ``op`` and ``from``, the values it reads. The image is
        value 0, and step ``i`` gives value ``i + 1``.
    outputs : list of dict
        ``values`` of each output, joined; with ``each``, they are read
        anchor by anchor, so many numbers for one.
    """

    layers: dict[str, nn.Conv2d]
    steps: list[dict[str, Any]]
    outputs: list[dict[str, Any]]


def program_of(model: nn.Module) -> Program:
    """The steps of a network of convolutions, sums, concatenations and poolings.

    Raises
    ------
    ValueError
        It does something that the page cannot; the message names it.

    Examples
    --------
    >>> from prunekit.models import squeezenet
    >>> program = program_of(squeezenet())
    >>> program.steps[0]["op"], program.steps[0]["act"], program.outputs
    ('conv', 'relu', [{'values': [38], 'each': None}])
    """
    program, values = Program({}, [], []), dict[fx.Node, Any]()
    with evaluation_mode(model):
        graph = fx.symbolic_trace(model).graph
    for node in graph.nodes:
        values[node] = _understood(node, values, model, program)
    return program


def _understood(
    node: fx.Node, values: dict[fx.Node, Any], model: nn.Module, program: Program
) -> Any:
    """The value of one node; its steps go to the program."""
    given = [values[source] for source in node.all_input_nodes]
    if node.op == "placeholder":
        return _Value(0)
    if node.op == "output":
        return program.outputs.extend(_outputs(node.args[0], values))
    if node.op == "call_module":
        return _module(str(node.target), model.get_submodule(str(node.target)), given[0], program)
    name = node.target if isinstance(node.target, str) else node.target.__name__
    if name in ("permute", "flatten"):
        return given[0]
    if name == "reshape":  # maps that were permuted: so many numbers an anchor
        return given[0]._replace(each=node.args[-1])
    if node.target in (getattr, operator.getitem):  # sizes, which the page knows
        return None
    if name in ("add", "cat"):
        if name == "cat" and given[0].each is not None:
            return given
        return _step(program, name, [value.step for value in given])
    raise ValueError(f"the page cannot compute {name}, which {node.format_node()} asks for")


def _outputs(result: Any, values: Mapping[fx.Node, Any]) -> list[dict[str, Any]]:
    outputs = []
    for node in result if isinstance(result, Sequence) else [result]:
        value = values[node]
        parts = value if isinstance(value, list) else [value]
        outputs.append({"values": [part.step for part in parts], "each": parts[0].each})
    return outputs


def _step(program: Program, op: str, sources: list[int], **facts: Any) -> _Value:
    program.steps.append({"op": op, "from": sources} | facts)
    return _Value(len(program.steps))


def _module(name: str, module: nn.Module, value: _Value, program: Program) -> _Value:
    if isinstance(module, UNCHANGED):
        return value
    if isinstance(module, nn.ZeroPad2d):
        left, right, top, bottom = module.padding
        return value._replace(pads=(top, left, bottom, right))
    if (act := ACTIVATIONS.get(type(module))) and value.step == len(program.steps):
        program.steps[-1]["act"] = act  # a convolution's own: nothing has read it before
        return value
    if isinstance(module, nn.Conv2d) and _is_known(module):
        down, right = (int(side) for side in module.padding)
        program.layers[name] = module
        facts = {
            "layer": len(program.layers) - 1,
            "stride": module.stride[0],
            "pads": value.pads or (down, right, down, right),
            "act": None,
        }
        return _step(program, "conv", [value.step], **facts)
    if isinstance(module, nn.MaxPool2d) and (module.kernel_size, module.stride) == (3, 2):
        return _step(program, "pool", [value.step])
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return _step(program, "mean", [value.step])
    raise ValueError(f"the page cannot compute {name}, which is {module}")


def _is_known(layer: nn.Conv2d) -> bool:
    """Whether the page's engine has this kind of convolution, dense or depthwise."""
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    square = layer.kernel_size[0] == layer.kernel_size[1]
    return square and not isinstance(layer.padding, str) and (layer.groups == 1 or depthwise)


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as int8 with one float32 scale a filter, the largest of each at 127.

    Examples
    --------
    >>> whole, scale = rounded(torch.tensor([[[[0.5]], [[-1.27]]], [[[0.0]], [[0.0]]]]))
    >>> whole.flatten().tolist(), [round(s, 3) for s in scale.tolist()]
    ([50, -127, 0, 0], [0.01, 1.0])
    """
    scale = weight.flatten(1).abs().amax(1) / 127
    scale = torch.where(scale > 0, scale, 1.0)
    return (weight / scale.view(-1, 1, 1, 1)).round().to(torch.int8), scale


def write(
    model: nn.Module,
    path: Path,
    example_inputs: Tensor,
    facts: Mapping[str, Any],
    kept: Mapping[str, list[int]] | None = None,
) -> None:
    """Write a network as a script that hands its layers, its steps and ``facts`` to the page.

    Batch norms become part of the convolutions before them.

    Parameters
    ----------
    example_inputs
        Of which only the shape counts. The script's steps are tried on noise
        of it, and must give what the network gives with the same weights.
    kept
        Of pruned layers by name, which filters of the original are left.

    Raises
    ------
    ValueError
        As :func:`program_of`, or the page would compute something else.
        Nothing is written then.
    """
    folded = fold_batch_norm(model).eval()
    program, layers, packed = program_of(folded), [], b""
    for name, layer in program.layers.items():
        whole, scale = rounded(layer.weight.detach())
        layer.weight.data = whole * scale.view(-1, 1, 1, 1)
        layers.append({"name": name, "shape": list(whole.shape), "kept": (kept or {}).get(name)})
        bias = torch.zeros(len(whole)) if layer.bias is None else layer.bias.detach()
        for part in (whole, scale, bias):
            packed += part.numpy().tobytes()
            packed += bytes(-len(packed) % 4)  # the page reads floats in place
    content = {**facts, "layers": layers, "steps": program.steps, "outputs": program.outputs}
    content["weights"] = base64.b64encode(packed).decode()
    _refuse_another(folded, content, example_inputs)
    with replacing(path) as temporary:
        temporary.write_text(f"{CALL}{json.dumps(content, separators=(',', ':'))});\n", "utf-8")


def _refuse_another(model: nn.Module, content: Mapping[str, Any], example_inputs: Tensor) -> None:
    noise = torch.randn(example_inputs.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = (tree_leaves(one(noise)) for one in (model, InPage(content)))
    for one, other in zip(wanted, found, strict=True):
        if one.shape != other.shape or not torch.allclose(one, other, 1e-3, 1e-3):
            raise ValueError("the page would compute something else than this network")


class InPage(nn.Module):
    """The network of a script, computed by torch in the page's steps from the page's weights."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__()
        self.steps, self.outputs = content["steps"], content["outputs"]
        packed, begin = base64.b64decode(content["weights"]), 0

        def take(count: int, kind: type) -> Tensor:
            nonlocal begin
            part: np.ndarray = np.frombuffer(packed, kind, count, begin)
            begin += part.nbytes + -part.nbytes % 4
            return torch.from_numpy(part.copy())

        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer in content["layers"]:
            filters, shape = layer["shape"][0], layer["shape"]
            whole = take(int(np.prod(shape)), np.int8).view(shape).float()
            scale = take(filters, np.float32).view(-1, 1, 1, 1)
            self.weights.append(nn.Parameter(whole * scale))
            self.biases.append(nn.Parameter(take(filters, np.float32)))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = [x]
        for step in self.steps:
            values.append(getattr(self, f"_{step['op']}")(step, *(values[v] for v in step["from"])))
        outputs = tuple(self._output(output, values) for output in self.outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def _conv(self, step: Mapping[str, Any], x: Tensor) -> Tensor:
        weight, bias = self.weights[step["layer"]], self.biases[step["layer"]]
        top, left, bottom, right = step["pads"]
        groups = x.shape[1] // weight.shape[1]
        x = F.pad(x, (left, right, top, bottom))
        return APPLIED[step["act"]](F.conv2d(x, weight, bias, step["stride"], groups=groups))

    @staticmethod
    def _pool(step: Mapping[str, Any], x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    @staticmethod
    def _mean(step: Mapping[str, Any], x: Tensor) -> Tensor:
        return x.mean((2, 3))

    @staticmethod
    def _add(step: Mapping[str, Any], a: Tensor, b: Tensor) -> Tensor:
        return a + b

    @staticmethod
    def _cat(step: Mapping[str, Any], *parts: Tensor) -> Tensor:
        return torch.cat(parts, 1)

    @staticmethod
    def _output(output: Mapping[str, Any], values: list[Tensor]) -> Tensor:
        parts = [values[v] for v in output["values"]]
        if (each := output["each"]) is not None:
            parts = [x.permute(0, 2, 3, 1).reshape(len(x), -1, each) for x in parts]
        return torch.cat(parts, 1)


def read(path: Path) -> tuple[InPage, dict[str, Any]]:
    """The network of a script that :func:`write` wrote, and all that it states.

    Raises
    ------
    ValueError
        The file is of another kind.
    """
    text = path.read_text("utf-8").strip()
    if not (text.startswith(CALL) and text.endswith(");")):
        raise ValueError(f"{path} is no network of the lab: make it again with book/lab.py")
    content = json.loads(text[len(CALL) : -2])
    return InPage(content).eval(), content

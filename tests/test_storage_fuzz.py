"""Damaged and hostile model files: refused by name, or harmless. None of them runs code."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from safetensors import safe_open
from storage_files import Everything, read, write
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

import prunekit

# 2,000 in the suite. HYPOTHESIS_PROFILE=thorough makes it 40,000.
MUTATIONS = 20 * settings().max_examples
CANARY = "PRUNEKIT_CANARY"
# Without a dot: names are taken apart at dots.
CODE = f"getattr(getattr(__import__('os'), 'environ'), 'update')({CANARY}='sings')"
# As a value, a default of an input, an argument by name, a name in quotes, a line of its own.
PAYLOADS = [
    *(CODE, f"x={CODE}", f"*x, y={CODE}", f"x: {CODE}", f"x={CODE}, y", f"x={CODE}, **k"),
    *(f'a"), {CODE}, ("', f"a'), {CODE}, ('", f"x):\n  {CODE}\n  def f(y", f"x;{CODE}", f"{CODE}#"),
    *(
        f"x = {CODE}\n    y",
        f"lambda: {CODE}",
        f"a.{CODE}",
        f"{{{CODE}}}",
        f"x)\n    {CODE}\n    (x",
    ),
]
HOSTILE = [
    *PAYLOADS,
    *("os.system", "builtins.eval", "builtins.exec", "torch.load", "torch.save", "torch.hub.load"),
    *("torch.compile", "torch.from_file", "operator.methodcaller", "operator.attrgetter"),
    *("eval", "exec", "apply_", "map_", "numpy", "register_hook", "tofile", "to_folder", "set_"),
    *("__class__", "__reduce__", "__init__", "__dict__", "__globals__", "forward", "training"),
    *("self", "torch", "device", "inf", "graph", "metadata", "_modules", "recompile", "getattr"),
    *("DataParallel", "Module", "Sequential", "ModuleList", "LSTM", "TransformerEncoderLayer"),
    *("ｔo_folder", "ｅval", "＿＿class＿＿", "x y", "x.y", "..", "", "\0", "\n", "é"),
    *("class", "None", "lambda", "import", "*", "**", "*x", "**k", "0", "conv", "conv.weight"),
    *("output", "call_function", "call_method", "call_module", "get_attr", "placeholder"),
    *("torch.cat", "operator.getitem", "operator.pow", "torch.where", "getattr", "load", "nn"),
]
DEEP, HUGE = "deep" * 9, "huge" * 9  # stand for what json.dumps does not write
OTHER = [
    *(
        "\ud800",
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        7,
        2**31,
        2**63,
        -(2**63),
        10**12,
        10**18,
        10**4000,
        HUGE,
    ),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf"), [], {}, [[]], [1, 2, 3], DEEP),
    *({"node": "x"}, {"node": "output"}, {"node": []}, {"tuple": []}, {"tuple": 3}, {"slice": []}),
    *({"slice": [0, 1, 0]}, {"dict": {"class": 1}}, {"dict": {CODE: 1}}, {"dtype": "load"}),
    *({"dtype": "float64"}, {"dtype": CODE}, {"ellipsis": True}, {"float": CODE}, {"float": "nan"}),
    *(
        {"memory_format": "channels_last"},
        {"tuple": [10**9] * 4},
        [0] * 3000,
        {"node": "x", "a": 1},
    ),
]


class Hang(BaseException):
    """No ``Exception``, so that nothing takes it for a fault of the file."""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Largest(TorchFunctionMode):
    """Remembers the size of the largest tensor that was computed."""

    size = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sizes = (item.numel() for item in pytree.tree_leaves(result) if isinstance(item, Tensor))
        self.size = max(self.size, *sizes, 0)
        return result


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a description with every key or index of it."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def mutate_words(words: dict[str, Any], rng: random.Random) -> set[str]:
    """Change one thing in a description, and say in which sections."""
    section, other_section = rng.choices(list(words), k=2)
    container, key = rng.choice([(words, section), *places(words[section])])
    what = rng.choice(["hostile", "hostile", "other", "other", "drop", "double", "swap", "rename"])
    if what == "hostile":
        container[key] = rng.choice(rng.choice([PAYLOADS, HOSTILE]))
    elif what == "other":
        container[key] = copy.deepcopy(rng.choice(OTHER))
    elif what == "drop":
        del container[key]
    elif what == "double" and isinstance(container, list):
        container.insert(rng.randrange(len(container) + 1), copy.deepcopy(container[key]))
    elif what == "swap":
        other, there = rng.choice([(words, other_section), *places(words[other_section])])
        container[key], other[there] = copy.deepcopy(other[there]), copy.deepcopy(container[key])
        return {section, other_section}
    elif isinstance(container, dict):
        name = rng.choice([*HOSTILE, *container])
        container[name] = container[key] if what == "double" else container.pop(key)
    return {section}


def rename(value: Any, old: str, new: str) -> Any:
    """The same with another name in every place, so that all of it still fits together."""
    if isinstance(value, dict):
        return {rename(key, old, new): rename(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [rename(item, old, new) for item in value]
    if isinstance(value, str) and (value == old or value.startswith(f"{old}.")):
        return new + value.removeprefix(old)
    return value


def mutate_names(words: Any, tensors: dict[str, Tensor], rng: random.Random) -> tuple[Any, Any]:
    """Call one layer, tensor, input, operation or argument something else throughout."""
    nodes = words["nodes"]
    inputs = [node["target"] for node in nodes if node["op"] == "placeholder"]
    keywords = [key for node in nodes for key in node["kwargs"]["dict"]]
    others = [words["class"], *(node["name"] for node in nodes)]
    names = rng.choice([list(words["modules"]), list(tensors), inputs, keywords, others])
    old, new = rng.choice(names), rng.choice(rng.choice([PAYLOADS, HOSTILE]))
    return rename(words, old, new), rename(tensors, old, new)


def mutate_tensors(tensors: dict[str, Tensor], rng: random.Random) -> None:
    name = rng.choice(list(tensors))
    what = rng.choice(["drop", "add", "rename", "shape", "shape", "dtype", "numbers", "swap"])
    if what == "add":
        tensors[rng.choice([*HOSTILE, "head.9.weight", "conv.more"])] = torch.zeros(2)
    elif what == "shape":
        shapes = [(-1,), (1, *tensors[name].shape), (*tensors[name].shape, 1), (1, -1)]
        tensors[name] = tensors[name].reshape(rng.choice(shapes)).contiguous()
    elif what == "dtype":
        kinds = [torch.float64, torch.bfloat16, torch.int8, torch.bool, torch.float8_e5m2]
        tensors[name] = tensors[name].to(rng.choice([*kinds, torch.complex64, torch.int64]))
    elif what == "numbers":
        tensors[name] = tensors[name] + 1
    elif what == "swap":
        other = rng.choice(list(tensors))
        tensors[name], tensors[other] = tensors[other], tensors[name]
    else:
        tensor = tensors.pop(name)
        if what == "rename":
            tensors[rng.choice(HOSTILE)] = tensor


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    changed, header = bytearray(content), 8 + int.from_bytes(content[:8], "little")
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        end = rng.choice([8, header, len(content), len(content)])
        changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed[: rng.choice([len(content)] * 5 + [header, rng.randrange(len(content))])])


def outputs(module: nn.Module) -> list[Any]:
    x = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    with torch.inference_mode():
        return pytree.tree_leaves(module(x))


def equal(ours: list[Any], theirs: list[Any]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        for a, b in zip(ours, theirs, strict=True)
    )


def run_if_small(module: nn.Module) -> None:
    """The first forward pass of a network that nobody made; it may fail, not do harm."""
    on_meta = {name: t.to("meta") for name, t in module.state_dict().items()}
    try:
        with Largest() as largest, torch.device("meta"), torch.no_grad():
            torch.func.functional_call(module, on_meta, torch.empty(2, 3, 8, 8))
        if largest.size < 10**6:
            outputs(module)
    except Exception:  # torch's own, of any type: the network is nonsense, and says so
        return


def mutant(path: Path, original: bytes, rng: random.Random) -> bool:
    """Write one changed file; whether it may describe another network than before."""
    kind = rng.choices(["words", "names", "tensors", "bytes"], [5, 3, 1, 1])[0]
    if kind == "bytes":
        path.write_bytes(mutate_bytes(original, rng))
        return False
    path.write_bytes(original)
    words, tensors = read(path)
    with safe_open(path, framework="pt") as stored:
        sha256 = stored.metadata()["sha256"]
    sections = {"tensors", "names"}
    if kind == "tensors":
        mutate_tensors(tensors, rng)
    elif kind == "names":
        words, tensors = mutate_names(words, tensors, rng)
    else:
        times = range(rng.choice([1, 1, 1, 2, 3]))
        sections = set().union(*(mutate_words(words, rng) for _ in times if words))
    text = json.dumps(words).replace(f'"{DEEP}"', "[" * 10**5 + "]" * 10**5)
    text = text.replace(f'"{HUGE}"', "9" * 5000)
    forged = rng.random() < 0.75
    write(path, text, tensors, "right" if forged else sha256)
    return forged and sections != {"metadata"}


def attack(path: Path, original: bytes, wanted: list[Any], seed: int) -> str:
    """Change a file, load it and run it: how that ended."""
    rng = random.Random(seed)
    may_differ = mutant(path, original, rng)
    try:
        with limit(20):
            try:
                loaded = prunekit.load(path)
            except ValueError as error:
                assert str(path) in str(error)
                return "refused"
            if may_differ:
                run_if_small(loaded)
                return "another network"
            assert equal(outputs(loaded), wanted), "loaded, but computes something else"
            return "the same network"
    finally:
        assert CANARY not in os.environ, "the file ran code"
        assert [file.name for file in path.parent.iterdir()] == [path.name], "it wrote a file"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, bytes, list[Any]]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("fuzz") / "model.safetensors"
    model = Everything().eval()
    prunekit.save(model, path, {"classes": ["cat", "dog"], "deep": {"er": [1, None, 0.5]}})
    return path, path.read_bytes(), outputs(model)


@pytest.mark.filterwarnings("ignore")
def test_a_changed_file_is_refused_by_name_or_does_no_harm(saved):
    ends: dict[str, int] = {}
    for seed in range(MUTATIONS):
        try:
            end = attack(*saved, seed)
        except BaseException as error:
            error.add_note(f"mutation {seed}")
            raise
        ends[end] = ends.get(end, 0) + 1
    # None of the three kinds of end has become so rare that it is not tried.
    assert all(ends[end] > MUTATIONS / 100 for end in ("refused", "another network"))
    assert ends["the same network"] > 0

"""Model files that somebody damaged or made to do harm: each is refused, and says which."""

import os
import resource
import time

import pytest
import torch
from storage_files import Everything, read, write

import prunekit

CANARY = "PRUNEKIT_CANARY_SINGS"
# Without a dot: names are taken apart at dots.
CODE = f"getattr(getattr(__import__('os'), 'environ'), 'update')({CANARY}='yes')"


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    prunekit.save(Everything(), path)
    return path, *read(path)


def node(words, name):
    return next(node for node in words["nodes"] if node["name"] == name)


def refuse(path, words, tensors, said, sha256="right"):
    write(path, words, tensors, sha256)
    with pytest.raises(ValueError, match=said) as caught:
        prunekit.load(path)(torch.zeros(2, 3, 8, 8))
    assert str(path) in str(caught.value)
    assert CANARY not in os.environ


@pytest.mark.parametrize("target", [f"x={CODE}", f"*x, y={CODE}", f"x: {CODE}", "self", "class"])
def test_the_name_of_an_input_is_no_code(saved, target):
    path, words, tensors = saved
    node(words, "x")["target"] = target
    refuse(path, words, tensors, "operation 'x'.*name")


def test_the_default_of_an_input_is_a_plain_value(saved):
    path, words, tensors = saved
    node(words, "factor")["args"] = {"tuple": [{"node": "x"}]}
    refuse(path, words, tensors, "operation 'factor'.*default")


@pytest.mark.parametrize("name", [f"dim={CODE}, more", "a b", "lambda", ""])
def test_the_name_of_an_argument_is_no_code(saved, name):
    path, words, tensors = saved
    node(words, "cat")["kwargs"]["dict"] = {name: 1}
    refuse(path, words, tensors, "operation 'cat'.*is no name")


@pytest.mark.parametrize(
    "name",
    [
        *(f'conv"), {CODE}, ("', "", "conv.", "in", "conv\n", "con v"),
        *("forward", "training", "__class__", "_modules", "graph", "metadata", "to"),
        "ｔo_folder",  # Python reads to_folder
        ".".join("a" * 1000),
    ],
)
@pytest.mark.parametrize("old", ["conv", "scale"])
def test_the_name_of_a_layer_or_tensor_is_no_code(saved, old, name):
    path, words, tensors = saved
    words["modules"] = {name if key == old else key: m for key, m in words["modules"].items()}
    words["parameters"] = [name if key == old else key for key in words["parameters"]]
    node(words, old)["target"] = name
    renamed = {
        name + key.removeprefix(old) if key.split(".")[0] == old else key: tensor
        for key, tensor in tensors.items()
    }
    refuse(path, words, renamed, f"operation '{old}'.*name")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda words: words["modules"]["conv"].update(type="DataParallel"), "DataParallel"),
        (lambda words: words["modules"]["conv"].update(type="Sequential"), "Sequential"),
        (lambda words: words["modules"]["conv"]["arguments"].update(device="cpu"), "'device'"),
        (lambda words: node(words, "cat").update(target="os.system"), r"os\.system"),
        (lambda words: node(words, "cat").update(target="torch.load"), r"torch\.load"),
        (lambda words: node(words, "view").update(target="apply_"), "apply_"),
        (
            lambda words: node(words, "getattr_1").update(
                args={"tuple": [{"node": "x"}, "__class__"]}
            ),
            "__class__",
        ),
        (lambda words: node(words, "to").update(args={"tuple": [{"dtype": "load"}]}), "load"),
        (lambda words: node(words, "to").update(args={"tuple": ["abc"]}), "constant"),
        (
            lambda words: node(words, "floordiv").update(
                target="operator.pow", args={"tuple": [10**9, 10**9]}
            ),
            "constants only",
        ),
        (lambda words: words["nodes"].append(words["nodes"][0]), "two operations"),
        (lambda words: node(words, "relu").update(name="self"), "name of an input or result"),
        (lambda words: words["nodes"].pop(), "one output"),
        (lambda words: words.update(modules={}), "no layer"),
        (lambda words: words.update(prunekit=3), "format version 3"),
        (lambda words: words.pop("nodes"), "nodes"),
        (lambda words: words.update({"class": CODE}), "is no name"),
    ],
)
def test_what_no_table_lists_is_refused(saved, change, said):
    path, words, tensors = saved
    change(words)
    refuse(path, words, tensors, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: [tensors.pop(key) for key in [*tensors] if "norm" in key], "lacks.*norm"),
        (lambda tensors: tensors.pop("head.2.bias"), r"lacks.*head\.2\.bias"),
        (lambda tensors: tensors.pop("twin.weight"), r"twin\.weight"),
        (lambda tensors: tensors.pop("scale"), "lacks.*scale"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "no layer has.*more"),
        (lambda tensors: tensors.update({"conv.more": torch.zeros(1)}), r"conv\.more"),
        (lambda tensors: tensors.update({"conv.bias": torch.zeros(5)}), r"conv\.bias.*\(5,\)"),
        (
            lambda tensors: tensors.update({"conv.bias": torch.zeros(4, dtype=torch.int8)}),
            r"conv\.bias.*int8",
        ),
    ],
)
def test_tensors_missing_or_too_many_or_of_another_kind_are_refused(saved, change, said):
    path, words, tensors = saved
    change(tensors)
    refuse(path, words, tensors, said)


def test_every_flipped_bit_is_found(saved):
    path, *_ = saved
    content = bytearray(path.read_bytes())
    for place in range(8, len(content), 41):
        content[place] ^= 1 << (place % 8)
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            prunekit.load(path)
        content[place] ^= 1 << (place % 8)
    path.write_bytes(content)
    prunekit.load(path)


def test_a_digest_cannot_be_left_out(saved):
    path, words, tensors = saved
    refuse(path, words, tensors, "digest", sha256=None)
    tensors["scale"][0] += 1
    refuse(path, words | {"prunekit": 1}, tensors, "digest", sha256="0" * 64)


@pytest.mark.parametrize("features", [30_000, 10**6, 10**12, 2**62, 10**30])
def test_what_a_file_does_not_hold_is_not_made_room_for(saved, features):
    path, words, tensors = saved
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words["modules"]["head.2"]["arguments"] |= {"in_features": features, "out_features": features}
    refuse(path, words, tensors, "model.safetensors cannot be loaded")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def nested(depth):
    value = 1
    for _ in range(depth):
        value = {"tuple": [value]}
    return value


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda words: node(words, "cat")["kwargs"]["dict"].update(dim=nested(60)), "nested"),
        (lambda words: node(words, "cat")["kwargs"]["dict"].update(dim=10**40), "64 bits"),
        (lambda words: words.update(nodes=words["nodes"] * 2000), "more than 20000"),
    ],
)
def test_sizes_have_bounds(saved, change, said):
    path, words, tensors = saved
    change(words)
    refuse(path, words, tensors, said)


@pytest.mark.parametrize("text", ["[" * 10**6, "9" * 10**6, "", "null", "[]", "{}", "{'a': 1}"])
def test_a_description_that_is_none_is_refused_at_once(saved, text):
    path, _, tensors = saved
    start = time.perf_counter()
    refuse(path, text, tensors, "model.safetensors cannot be loaded")
    assert time.perf_counter() - start < 5

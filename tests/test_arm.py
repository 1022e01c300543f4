"""The bundle as real aarch64 programs on emulated cores. `make arm` runs this; it takes minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if not os.environ.get("PRUNEKIT_ARM"):
    pytest.skip("64-bit ARM is tested by `make arm`", allow_module_level=True)

import json
import platform

from boards import contents, forged

import prunekit
from prunekit.book.deployment import ORIGINAL, PRUNED, SIZE
from prunekit.data import load_dataset
from prunekit.deploy import (
    Settings,
    TargetError,
    ToolError,
    build_runner,
    bundle,
    count_instructions,
    run,
    unpack,
)
from prunekit.deploy.bundles import some_images
from prunekit.deploy.emulation import CORES
from prunekit.deploy.toolchain import GLIBC, missing_tools, needed_glibc

NAMES = {
    f"{model}-{precision}" for model in ("original", "pruned") for precision in ("fp32", "int8")
}
ONCE = Settings(repeats=1, warmup=0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """The book's original and pruned networks, with runners for ARM and for this machine."""
    data = load_dataset("cifar10", download=False)
    path = tmp_path_factory.mktemp("arm") / "bundle.tar.gz"
    networks = {"original": ORIGINAL, "pruned": PRUNED}
    models = {n: prunekit.load(at / "model.safetensors").float() for n, at in networks.items()}
    bundle(
        models,
        some_images(data.val, 4, SIZE),
        path,
        calibration=some_images(data.train, 16, SIZE)[0],
        machines=sorted({"aarch64", platform.machine()}),
    )
    return path


@pytest.fixture(scope="module")
def unpacked(archive, tmp_path_factory) -> Path:
    return unpack(archive, tmp_path_factory.mktemp("unpacked"))[0]


def test_every_tool_is_there():
    assert missing_tools() == []


def test_runner_starts_on_boards_with_an_old_glibc():
    assert needed_glibc(build_runner("aarch64")) <= GLIBC


@pytest.mark.parametrize("cpu", CORES)
def test_arm_computes_what_this_machine_computed(archive, cpu):
    result = run(archive, "emulated", cpu=cpu, settings=ONCE)
    assert result["machine"] == "aarch64"
    assert result["core"].lower() == cpu, "the core names itself"
    assert {model["name"] for model in result["models"]} == NAMES
    for model in result["models"]:
        assert model["correct"]
        assert model["max_error"] <= (0 if model["precision"] == "int8" else 1e-4)
        assert "median_ms" not in model, "emulated time is no latency"


def test_native_runner_of_this_machine_agrees(archive):
    result = run(archive, settings=Settings(runner="native", repeats=3, warmup=1))
    assert result["runner"] == "executorch" and result["machine"] == platform.machine()
    assert {model["name"] for model in result["models"]} == NAMES
    for model in result["models"]:
        assert model["correct"] and 0 < model["min_ms"] <= model["median_ms"] <= model["p95_ms"]


@pytest.mark.parametrize("cpu", [min(CORES), max(CORES)])
def test_instruction_counts_repeat_and_fall_with_pruning(unpacked, cpu):
    counts = {name: count_instructions(unpacked, name, cpu) for name in sorted(NAMES)}
    again = count_instructions(unpacked, "pruned-int8", cpu)
    assert again == pytest.approx(counts["pruned-int8"], rel=1e-3)
    for precision in ("fp32", "int8"):
        assert counts[f"pruned-{precision}"] < counts[f"original-{precision}"] / 1.5


def test_runner_names_what_is_wrong(archive):
    with pytest.raises(TargetError, match="the plan has no model best"):
        run(archive, "emulated", settings=Settings(only="best", repeats=1))
    with pytest.raises(TargetError, match=r"emulated: the runner failed \(1\).*must be at least 1"):
        run(archive, "emulated", settings=Settings(repeats=0))


def test_runner_that_is_not_this_library_s_is_not_run(archive, tmp_path):
    files = contents(archive)
    manifest = json.loads(files["manifest.json"])
    for name in ("runner", "lib/libexecutorch.so"):
        other = {f"bin/aarch64/{name}": files[f"bin/aarch64/{name}"] + b"evil"}
        path = forged(files | other, manifest, tmp_path / "other.tar.gz")
        with pytest.raises(TargetError, match=rf"bin/aarch64/{name} of the bundle is not what"):
            run(path, "emulated", settings=ONCE)


def test_emulated_run_that_takes_too_long_is_ended(archive, unpacked):
    with pytest.raises(TargetError, match=r"emulated: the runner was ended: no end after 0\.1"):
        run(archive, "emulated", settings=ONCE, time_limit=0.1)
    with pytest.raises(ToolError, match=r"counting pruned-int8 .* was ended: no end after 0\.1"):
        count_instructions(unpacked, "pruned-int8", "cortex-a72", time_limit=0.1)

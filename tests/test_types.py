"""The library's types hold together, and those who call it get their mistakes shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="pip install prunekit[test]")
ROOT = Path(__file__).resolve().parents[1]
EXPLAINED = re.compile(r"# type: ignore\[[a-z-]+\]  # \w+")
#: A program of a user's. Where a line is wrong, its comment says what a type checker calls that.
PROGRAM = """\
import torch
from torch import nn

import prunekit
from prunekit.book.plots.heap import heap_figure

model, x, y = nn.Sequential(), torch.zeros(2, 3, 8, 8), torch.zeros(2)
ranking = prunekit.rank(model, [(x, y)], criterion="taylor")
prunekit.rank(model, [x, x])  # list-item
prunekit.select(ranking, count="many")  # arg-type
prunekit.select(ranking, 8, 2)  # call-arg
kept: int = prunekit.select(ranking, 8).groups
small: nn.Module = prunekit.rebuild(model, x, {"0": [1, 2]})
prunekit.rebuild(model, x, {"0": "all"})  # dict-item
prunekit.prune(model, [(x, y)], [(x, y)], ratios=0.5)  # call-arg
heap_figure([], [0], rows=2)  # call-arg
width: float = heap_figure([], [0]).get_figwidth()
"""


def mypy(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def test_types_of_the_library_agree():
    found = mypy()
    assert found.startswith("Success"), found


def test_mistakes_of_a_user_are_found(tmp_path):
    """Also through the decorators that check arguments and open figures."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    found = re.findall(r"program.py:(\d+): error: .*\[([a-z-]+)\]$", mypy(program), re.MULTILINE)
    lines = enumerate(PROGRAM.splitlines(), 1)
    wanted = [(str(n), line.split("  # ")[1]) for n, line in lines if "  # " in line]
    assert list(dict.fromkeys(found)) == wanted


def test_every_exception_is_explained():
    bare = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "prunekit").rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if "type: ignore" in line and not EXPLAINED.search(line)
    ]
    assert not bare, f"say why after the ignore: {', '.join(bare)}"

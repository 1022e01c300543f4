"""The rooms of the library, in the order in which data walks through them: no arrow runs up."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: From the ground up. A room imports from those before it and from nothing else.
ROOMS = (
    *("errors", "extras", "checks", "execution", "progress", "losses"),
    *("channels", "attention", "surgery", "selection", "models", "storage", "data"),
    *("measure", "criteria", "repair", "training", "pruning"),
    *("widths", "grafting", "adversarial", "detection"),
    *("deploy", "study", "book", "__main__"),
)
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "prunekit").rglob("*.py"))
    if "board" not in path.parts  # programs for a board, which stand alone
}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(module: str) -> set[str]:
    """The modules of prunekit that a module imports, at whatever place."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] != "prunekit":
                continue
            known = [f"{name}.__init__", name, f"{name.rpartition('.')[0]}.__init__"]
            known += [name.rpartition(".")[0]]
            found |= {next(one for one in known if one in MODULES)}
    return found - {module}


def test_every_module_stands_in_a_room():
    rooms = {room_of(module) for module in MODULES} - {"__init__"}
    assert rooms <= set(ROOMS)


def test_the_page_for_whoever_changes_the_code_shows_every_room():
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.MULTILINE)
    shown = [name for row in rows for name in re.findall(r"`(\w+)/?`", row)]
    assert shown == [*ROOMS]


@pytest.mark.parametrize("module", [name for name in MODULES if name != "prunekit.__init__"])
def test_no_arrow_runs_up(module):
    own = room_of(module)
    if own in ("deploy", "study", "book", "__main__"):  # they use the library as its users do
        below = {*ROOMS[: ROOMS.index(own) + 1], "__init__"}
    else:
        below = set(ROOMS[: ROOMS.index(own) + 1])
    assert {room_of(name) for name in imports(module)} <= below


def test_there_is_no_circle():
    graph = {module: imports(module) for module in MODULES}
    # A package's face re-exports what its own modules hold, and these do not ask it for anything.
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_library_does_not_know_the_network_of_the_thesis():
    """What is special to it has its place in the book."""
    for module, path in MODULES.items():
        if room_of(module) not in ("book", "models"):
            assert "expand1x1" not in path.read_text("utf-8"), module

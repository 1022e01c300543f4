"""Every chapter runs top to bottom in profile smoke, as a reader's `papermill` would run it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import papermill
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_chapter_runs(notebook, tmp_path):
    executed = papermill.execute_notebook(
        notebook,
        tmp_path / notebook.name,
        parameters={"PROFILE": "smoke"},
        kernel_name="python3",
        cwd=notebook.parent,
        progress_bar=False,
        execution_timeout=120,
    )
    injected = [c for c in executed.cells if "injected-parameters" in c.metadata.get("tags", ())]
    assert len(injected) == 1, "the chapter has no cell tagged 'parameters'"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_of_pictures_are_marked(notebook):
    """The dark theme turns charts around, and must know what it may not turn."""
    drawn = re.compile(
        r"\b(class_grid|picture_rows|map_grid|mistakes|image_strip|imshow|twin_maps"
        r"|pictures_with_boxes|places_and_shapes)\("
    )
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code" and "mystnb" in cell["metadata"]:
            classes = cell["metadata"]["mystnb"].get("image", {}).get("classes", "")
            assert (classes == "pictures") == bool(drawn.search("".join(cell["source"])))


def test_every_chapter_is_in_the_table_of_contents():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    listed = [c["file"] for part in parts for c in part["chapters"]]
    assert [f"notebooks/{n.stem}" for n in NOTEBOOKS] == [f for f in listed if "notebooks" in f]

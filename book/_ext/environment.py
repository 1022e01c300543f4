"""Write environment.yml from pyproject.toml, so that conda and Binder get what `make` installs."""

from __future__ import annotations

import tomllib
from pathlib import Path

from prunekit.storage.files import replacing

ROOT = Path(__file__).resolve().parents[2]
HEAD = """\
# Written by `make environment` from pyproject.toml: edit that, not this.
name: prunekit
channels: [conda-forge]
dependencies:
  - python={python}
  - pip
  - pip:
      # Binder has no GPU: builds of PyTorch without CUDA are a tenth of the size.
      - --extra-index-url https://download.pytorch.org/whl/cpu
      - --constraint constraints.txt
"""


def requirements(project: dict) -> list[str]:
    """List the project's own requirements and those of all its extras, each once."""
    optional = project["optional-dependencies"].values()
    listed = project["dependencies"] + [r for extra in optional for r in extra]
    return [r for r in dict.fromkeys(listed) if not r.startswith(project["name"] + "[")]


def environment(root: Path = ROOT) -> str:
    """Return the text of environment.yml."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = [f'      - "{requirement}"\n' for requirement in requirements(project)]
    python = project["requires-python"].removeprefix(">=")
    return HEAD.format(python=python) + "".join(lines) + "      - --editable .\n"


if __name__ == "__main__":
    with replacing(ROOT / "environment.yml") as temporary:
        temporary.write_text(environment(), "utf-8")

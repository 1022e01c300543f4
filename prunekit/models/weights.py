"""Where files of trained weights lie that come with no package."""

from __future__ import annotations

import os
from pathlib import Path


def weights_file(name: str, path: str | Path | None = None) -> Path:
    """``path``, or the file called ``name`` in the folder that ``PRUNEKIT_WEIGHTS`` names.

    Raises
    ------
    FileNotFoundError
        There is no such file, or no path was given and the environment variable
        ``PRUNEKIT_WEIGHTS`` is not set.
    """
    if path is None:
        folder = os.environ.get("PRUNEKIT_WEIGHTS")
        if not folder:
            raise FileNotFoundError(
                f"give the path of {name}, or set PRUNEKIT_WEIGHTS to the folder it lies in"
            )
        path = Path(folder).expanduser() / name
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}: give the path of {name}")
    return Path(path)

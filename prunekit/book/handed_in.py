"""What a class hands in, and what a teacher opens of it: files by their ending, names in tables."""

from __future__ import annotations

from pathlib import Path


def files_in(folder: Path, ending: str) -> list[Path]:
    """The files of one kind in a folder and in the folders within, in the order of their names.

    What systems and editors put beside them is left out: hidden files and
    folders, such as ``.ipynb_checkpoints``, and ``__MACOSX`` of an archive.

    Parameters
    ----------
    ending
        Such as ``.json``, in small letters; files may write it in capitals.

    Examples
    --------
    >>> [path.name for path in files_in(Path(__file__).parent, ".py") if "hand" in path.name]
    ['handed_in.py']
    """
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() == ending
        and path.is_file()
        and not any(
            part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts
        )
    ]


def as_text(name: str) -> str:
    """A name that spreadsheets show: one that begins as their formulas do has an apostrophe first.

    Examples
    --------
    >>> as_text("Ann"), as_text("=1+1")
    ('Ann', "'=1+1")
    """
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name

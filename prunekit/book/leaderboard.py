"""The leaderboard of a class: its members' entries, ranked in one table.

    python -m prunekit.book.leaderboard handed_in leaderboard.csv

An entry is a JSON file such as ``{"name": "Ann", "bytes": 55000, "accuracy":
0.91}``; assignment 5 writes one. What stands there is believed: points come
from :mod:`prunekit.book.grading`, which runs the code.
"""

from __future__ import annotations

import argparse
import json
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd

from prunekit.book.handed_in import as_text, files_in
from prunekit.checks import number, whole
from prunekit.storage.files import write_table

COLUMNS = ["name", "bytes", "accuracy"]
#: Categories of Unicode that steer a terminal or a line, or that no file can hold. Of the second,
#: Persian and the scripts of India join letters by two.
NOT_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"


def ranked(entries: list[dict[str, Any]]) -> pd.DataFrame:
    """Entries by falling accuracy, and of equal accuracy the smaller first.

    Returns
    -------
    DataFrame with the columns ``rank``, ``name``, ``bytes`` and ``accuracy``.
    A name has one row, its best, and is written as there: capitals, and how
    accents are composed, make no other name. Who has the same accuracy and
    the same bytes has the same rank.

    Examples
    --------
    >>> ann, bob = {"name": "Ann", "bytes": 9, "accuracy": 0.8}, {"name": "Bob", "bytes": 9}
    >>> print(ranked([ann, bob | {"accuracy": 0.9}]).to_string(index=False))
     rank name  bytes  accuracy
        1  Bob      9       0.9
        2  Ann      9       0.8
    """
    table = pd.DataFrame(entries, columns=COLUMNS)
    table = table.sort_values(
        ["accuracy", "bytes", "name"], ascending=[False, True, True], ignore_index=True
    )
    table = table[~table["name"].map(_same).duplicated()].reset_index(drop=True)
    first = ~table.duplicated(["accuracy", "bytes"])
    table.insert(0, "rank", pd.Series(table.index + 1).where(first).ffill().astype(int))
    return table


def _same(name: str) -> str:
    """What two ways to write one name have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name must be some text, not {name!r}")
    name = name.strip()
    if any(unicodedata.category(sign) in NOT_SHOWN and sign not in JOINERS for sign in name):
        raise ValueError(f"name must have no characters that cannot be shown: {name!r}")
    return name


def read_entry(path: Path) -> dict[str, Any]:
    """One entry from a JSON file.

    Raises
    ------
    ValueError
        It is no entry; the message names the file and what is wrong in it.
    """
    try:
        # Some editors of Windows put a mark of the encoding first, which is no JSON.
        entry = json.loads(path.read_text("utf-8-sig"))
        if not isinstance(entry, dict) or entry.keys() != set(COLUMNS):
            raise ValueError(f"an entry has {', '.join(COLUMNS)}, and nothing else")
        return {
            "name": _name(entry["name"]),
            "bytes": whole("bytes", entry["bytes"], least=1),
            "accuracy": number("accuracy", entry["accuracy"], least=0, most=1),
        }
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def entries_in(folder: Path) -> list[dict[str, Any]]:
    """The entries of all JSON files in a folder and in the folders within, but for hidden ones.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        Some are no entries: all of them are named, with what is wrong.
    """
    paths = files_in(folder, ".json")
    if not paths:
        raise FileNotFoundError(f"{folder} holds no JSON file")
    entries, wrong = [], []
    for path in paths:
        try:
            entries.append(read_entry(path))
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("mend or remove these, then try again:\n" + "\n".join(wrong))
    return entries


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m prunekit.book.leaderboard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("table", type=Path, help="the CSV file to write")
    options = parser.parse_args(arguments)
    try:
        entries = entries_in(options.folder)
        table = ranked(entries)
        write_table(table.assign(name=table["name"].map(as_text)), options.table)
    except (OSError, ValueError) as error:
        sys.exit(f"prunekit.book.leaderboard: {error}")
    print(table.to_string(index=False))
    # Two students of one name look like one student with two entries: whoever reads on may know.
    print(f"\nentries: {len(entries)}, names: {len(table)}")


if __name__ == "__main__":
    main()

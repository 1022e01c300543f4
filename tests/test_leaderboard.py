"""The leaderboard of a class: the best first, and no table from what is no entry."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.book.leaderboard import entries_in, main, ranked
from prunekit.storage.files import write_json

ANN = {"name": "Ann", "bytes": 55_000, "accuracy": 0.91}
FIFTH = Path(__file__).resolve().parents[1] / "book/classroom/assignments/5_bytes.ipynb"

some_entries = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from("ABCDE"),
            "bytes": st.integers(1, 3),
            "accuracy": st.sampled_from([0, 0.5, 1]),
        }
    ),
    min_size=1,
)


@given(some_entries)
def test_each_name_stands_once_with_its_best_and_its_rank_counts_who_is_better(entries):
    best = {}
    for entry in entries:
        key = (-entry["accuracy"], entry["bytes"])
        best[entry["name"]] = min(key, best.get(entry["name"], key))
    table = ranked(entries)
    assert dict(zip(table["name"], table["rank"], strict=True)) == {
        name: 1 + sum(other < key for other in best.values()) for name, key in best.items()
    }
    found = list(zip(-table["accuracy"], table["bytes"], strict=True))
    assert found == sorted(best.values())


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ann", "ANN"), ("Zo\u00eb", "Zoe\u0308"), ("Stra\u00dfe", "STRASSE"), ("\u1e9e", "ss")],
)
def test_a_name_is_the_same_in_capitals_and_composed_otherwise(one, other):
    better = {"name": other, "bytes": 1, "accuracy": 0.95}
    assert ranked([ANN | {"name": one}, better])["name"].tolist() == [other]


def test_names_that_spreadsheets_would_run_are_written_as_text(tmp_path, capsys):
    names = ["=1+1", "+Ann", "-Bob", "@eve", "Zo\u00eb-=+@"]
    for number, name in enumerate(names):
        entry = {"name": name, "bytes": 1 + number, "accuracy": 1}
        write_json(entry, tmp_path / f"in/{number}.json")
    main([str(tmp_path / "in"), str(tmp_path / "board.csv")])
    written = pd.read_csv(tmp_path / "board.csv")["name"].tolist()
    assert written == [*(f"'{name}" for name in names[:4]), names[4]]
    assert "'" not in capsys.readouterr().out


def test_what_editors_and_archives_put_beside_entries_is_left_out(tmp_path):
    for path in (".vscode/a.json", "ann/.ipynb_checkpoints/a.json", "__MACOSX/ann/a.json"):
        write_json({"editor": "settings"}, tmp_path / path)
    write_json({}, tmp_path / "._entry.json")
    write_json(ANN, tmp_path / "ann/entry.JSON")
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob/entry.json").write_text(json.dumps(ANN | {"name": "Bob"}), "utf-8-sig")
    assert [entry["name"] for entry in entries_in(tmp_path)] == ["Ann", "Bob"]


def test_a_hidden_folder_that_one_names_oneself_is_searched(tmp_path):
    write_json(ANN, tmp_path / ".cache/entry.json")
    assert len(entries_in(tmp_path / ".cache")) == 1


def test_entries_in_other_scripts_keep_their_names(tmp_path):
    name = (
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # its joiner is not seen, and part of it
    )
    write_json(ANN | {"name": name}, tmp_path / "entry.json")
    assert entries_in(tmp_path)[0]["name"] == name


def test_entries_of_folders_within_become_one_table(tmp_path, capsys):
    write_json(ANN, tmp_path / "in/ann/entry.json")
    write_json({"name": " Zoë, B. ", "bytes": 9, "accuracy": 1}, tmp_path / "in/zoe.json")
    main([str(tmp_path / "in"), str(tmp_path / "board.csv")])
    rows = [[1, "Zoë, B.", 9, 1.0], [2, "Ann", 55_000, 0.91]]
    assert pd.read_csv(tmp_path / "board.csv").to_numpy().tolist() == rows
    assert capsys.readouterr().out.split()[:4] == ["rank", "name", "bytes", "accuracy"]


@pytest.mark.parametrize(
    ("entry", "said"),
    {
        "no JSON": ("{", "Expecting property name"),
        "not in UTF-8": (b"\xff", "decode"),
        "a list": ([ANN], "an entry has name, bytes, accuracy"),
        "nothing of accuracy": ({"name": "Ann", "bytes": 1}, "an entry has"),
        "more than asked": (ANN | {"rank": 1}, "and nothing else"),
        "no name": (ANN | {"name": " "}, "name must be some text"),
        "a number for a name": (ANN | {"name": 3}, "name must be some text, not 3"),
        "no bytes": (ANN | {"bytes": 0}, "bytes must be at least 1, not 0"),
        "bytes as text": (ANN | {"bytes": "55"}, "bytes must be a whole number"),
        "half a byte": (ANN | {"bytes": 1.5}, "bytes must be a whole number"),
        "per cent": (ANN | {"accuracy": 91}, "at least 0 and at most 1, not 91"),
        "no number": (ANN | {"accuracy": float("nan")}, "at most 1, not nan"),
        "no end of brackets": ("[" * 100_000, "recursion"),
        "half a character": (
            ANN | {"name": "\ud800"},
            r"characters that cannot be shown: '\ud800'",
        ),
        "colours of a terminal": (ANN | {"name": "A\x1b[31m"}, r"cannot be shown: 'A\x1b[31m'"),
        "two lines": (ANN | {"name": "A\nB"}, r"cannot be shown: 'A\nB'"),
        "read backwards": (ANN | {"name": "A\u202eB"}, r"cannot be shown: 'A\u202eB'"),
        "true": (ANN | {"accuracy": True}, "accuracy must be a number"),
    }.values(),
)
def test_what_is_no_entry_is_named_and_the_table_stays(entry, said, tmp_path):
    write_json(ANN, tmp_path / "in/ann.json")
    text = entry if isinstance(entry, (str, bytes)) else json.dumps(entry)
    for name in ("bob", "eve"):
        (tmp_path / f"in/{name}.json").write_bytes(text.encode() if isinstance(text, str) else text)
    board = tmp_path / "board.csv"
    board.write_text("as it was")
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / "in"), str(board)])
    first, *wrong = str(caught.value).splitlines()
    assert first.endswith("mend or remove these, then try again:")
    for name, line in zip(("bob", "eve"), wrong, strict=True):
        assert f"{name}.json: " in line and said in line
    assert board.read_text() == "as it was"


def test_a_folder_without_entries_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no JSON file"):
        entries_in(tmp_path)


def test_what_assignment_5_writes_is_an_entry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    *_, last = nbformat.read(FIFTH, as_version=4).cells
    given_there = {"pd": pd, "write_json": write_json, "size": 9, "accuracy": 0.9}
    exec(last.source.rpartition("\n")[0], given_there | {"enter": lambda *entry: None})
    assert [entry["bytes"] for entry in entries_in(tmp_path)] == [9]

"""What names the code behind a recorded result."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta

import torch

from prunekit.storage import provenance


def test_the_commit_is_marked_when_code_changed_but_not_when_results_did(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "prunekit" / "provenance.py"))
    code, result = tmp_path / "prunekit" / "code.py", tmp_path / "book" / "results" / "table.csv"
    for path in (code, result):
        path.parent.mkdir(parents=True)
        path.write_text("before")

    def git(*arguments):
        names = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True)

    assert provenance.current_commit() == "unknown"
    git("init")
    git("add", ".")
    git("commit", "--message", "first")
    commit = provenance.current_commit()
    assert len(commit) == 40
    result.write_text("recorded again")
    assert provenance.current_commit() == commit
    code.write_text("after")
    assert provenance.current_commit() == f"{commit}+changes"


def test_what_stands_beside_a_result_can_be_written_as_json():
    found = provenance.provenance(
        seed=3, data="digits", data_sha256="ab", command="make study", seconds=1.26, commit="c"
    )
    assert json.loads(json.dumps(found)) == found
    assert (found["seed"], found["seconds"], found["commit"]) == (3, 1.3, "c")
    assert datetime.fromisoformat(found["finished"]).utcoffset() == timedelta(0)
    assert found["versions"]["torch"] == torch.__version__
    assert found["machine"]["processor"] and found["machine"]["threads"] >= 1

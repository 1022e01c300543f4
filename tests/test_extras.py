"""A package that only one extra brings, and that is not there, is asked for by the extra's name."""

from __future__ import annotations

import importlib.abc
import sys

import pytest

from prunekit import data
from prunekit.extras import need
from prunekit.study import Study
from prunekit.study.engine import run_study


class _NoScikitLearn(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def no_scikit_learn(monkeypatch, tmp_path):
    """As where only the library itself was installed, and there is no data either."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_NoScikitLearn(), *sys.meta_path])
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))


def test_missing_package_names_the_extra():
    with pytest.raises(ImportError, match=r"pip install 'prunekit\[deploy\]'"):
        need("prunekit_is_not_called_this", "deploy")


def test_broken_package_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import prunekit_needs_this_too")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="prunekit_needs_this_too") as caught:
        need("half_there", "deploy")
    assert "deploy" not in str(caught.value)


@pytest.mark.usefixtures("no_scikit_learn")
def test_digits_without_scikit_learn_name_the_extra():
    with pytest.raises(ImportError, match=r"sklearn is not .*: pip install 'prunekit\[digits\]'"):
        data.load_dataset("digits")


@pytest.mark.usefixtures("no_scikit_learn")
def test_neither_cifar10_nor_its_stand_in_names_both_ways_out(tmp_path):
    with pytest.raises(ImportError, match=r"prunekit\[digits\]'.* PRUNEKIT_DATA") as caught:
        data.load_dataset("cifar10", download=False)
    assert str(tmp_path) in str(caught.value)


def test_a_study_without_dask_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "dask", None)
    study = Study("one", "One run", {"tiny-seed0": {"start": "tiny"}})
    with pytest.raises(ImportError, match=r"dask is not .*: pip install 'prunekit\[study\]'"):
        run_study(study, tmp_path / "results", tmp_path / "unfinished", command="none")

"""Bars show in terminals and notebooks, and write nothing into files."""

from __future__ import annotations

import io
import sys
import time

import pytest
from loops import network, quickly

from prunekit import rank
from prunekit.progress import is_watched
from prunekit.training import evaluate, fit


class Screen(io.StringIO):
    def isatty(self):
        return True


class Slowly(list):
    def __iter__(self):
        for batch in super().__iter__():
            yield batch
            time.sleep(0.6)


@pytest.fixture
def written(monkeypatch):
    """Standard error that is a terminal, and standard output, where lines above bars go."""

    def to(stream):
        monkeypatch.delitem(sys.modules, "ipykernel.kernelapp", raising=False)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return to


def work(noise, **options):
    fit(network(), noise, noise, **options)
    rank(network(), noise, "taylor", **options)
    evaluate(network(), noise, **options)
    quickly(noise, fine_tune={}, **options)


def test_nothing_is_written_where_nobody_watches(noise, written):
    file = written(io.StringIO())
    work(noise, progress=True)
    assert file.getvalue() == ""


def test_a_kernel_is_watched_and_who_merely_imports_one_is_not(monkeypatch):
    kernelapp = pytest.importorskip("ipykernel.kernelapp")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_watched()
    monkeypatch.setattr(kernelapp.IPKernelApp, "initialized", lambda: True)
    assert is_watched()


def test_a_terminal_shows_bars_and_lines(noise, written):
    screen = written(Screen())
    work(noise, progress=True)
    assert "1/1" in screen.getvalue()
    assert "val_accuracy" in screen.getvalue()
    assert "iteration 3: 92 filters" in screen.getvalue()


def test_a_terminal_shows_nothing_when_told_so(noise, written):
    screen = written(Screen())
    work(noise, progress=False)
    assert screen.getvalue() == ""


def test_a_long_ranking_and_a_long_evaluation_show_how_far_they_are(noise, written):
    """Bars that would vanish at once are not shown: these take over a second."""
    screen = written(Screen())
    batches = Slowly(noise * 3)
    rank(network(), batches, "activation_l2")
    evaluate(network(), batches, progress=True)
    assert "ranking: " in screen.getvalue()
    assert "evaluating: " in screen.getvalue()

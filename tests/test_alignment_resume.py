"""An alignment that was stopped goes on, and ends as an unbroken one."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from prunekit.adversarial import align, alignment
from prunekit.models import ResNet
from prunekit.storage.fingerprints import digest_of
from prunekit.training import Interrupted


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 16, 16, generator=generator)
    return [(x, torch.tensor([0, 1, 2, 3]))] * 4


class Other(ResNet):
    """The same weights in a network of another class."""


def aligned(batches, make=ResNet, **more):
    torch.manual_seed(0)
    options = {"epochs": 4, "penalty": 24, "mask_every": 2, "lr": 0.02, "progress": False}
    return align(make(blocks=1), batches, batches, **options | more)


@pytest.mark.parametrize("weights", [{}, {"adversarial_weight": 0, "momentum": 0}])
def test_stopped_anywhere_it_ends_as_unbroken(batches, tmp_path, monkeypatch, weights):
    whole = aligned(batches, **weights)
    measured = alignment.evaluate
    for finished in (1, 2):  # epochs before each call dies
        left = iter([True] * finished + [False])

        def dying(*args, left=left):
            if not next(left):
                raise RuntimeError("killed")
            return measured(*args)

        monkeypatch.setattr(alignment, "evaluate", dying)
        with pytest.raises(RuntimeError, match="killed"):
            aligned(batches, folder=tmp_path, **weights)
    monkeypatch.setattr(alignment, "evaluate", measured)
    assert (tmp_path / "candidate-0003.safetensors").is_file()
    found = aligned(batches, folder=tmp_path, **weights)
    pd.testing.assert_frame_equal(
        *(one.table.drop(columns="seconds") for one in (found, whole)), check_exact=True
    )
    assert whole.table["pruned"].iloc[-1] > 0
    assert found.removals == whole.removals
    assert [one.groups for one in found.removals] == [one.groups for one in whole.removals]
    assert list(map(digest_of, found.networks)) == list(map(digest_of, whole.networks))
    again = aligned(batches, folder=tmp_path, **weights)  # nothing is left to do
    pd.testing.assert_frame_equal(again.table, found.table)


def test_ctrl_c_keeps_the_candidates_so_far(batches, tmp_path, monkeypatch):
    measured, left = alignment.evaluate, iter([True, False])

    def interrupted(*args):
        if not next(left):
            raise KeyboardInterrupt
        return measured(*args)

    monkeypatch.setattr(alignment, "evaluate", interrupted)
    with pytest.raises(Interrupted, match="in epoch 2") as raised:
        aligned(batches, folder=tmp_path)
    found = raised.value.history
    assert found.table["epoch"].tolist() == [1]
    assert len(found.networks) == len(found.removals) == 1 and not found.networks[0].training
    monkeypatch.setattr(alignment, "evaluate", measured)
    whole = aligned(batches, folder=tmp_path)
    assert digest_of(whole.networks[0]) == digest_of(found.networks[0])
    assert list(found.table) == list(whole.table)


def test_ctrl_c_in_the_first_epoch_gives_an_empty_table(batches, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(alignment, "evaluate", interrupt)
    with pytest.raises(Interrupted, match="in epoch 1") as raised:
        aligned(batches)
    found = raised.value.history
    assert found.networks == found.removals == [] and "accuracy" in found.table


def test_another_setting_and_a_damaged_file_are_refused(batches, tmp_path):
    aligned(batches, folder=tmp_path, epochs=1)
    for change, named in (({"penalty": 30}, "penalty"), ({"label_weight": 1}, "label_weight")):
        with pytest.raises(ValueError, match=f"alignment with other settings: {named}"):
            aligned(batches, folder=tmp_path, **{"epochs": 1} | change)
    with pytest.raises(ValueError, match="alignment with other settings: network"):
        aligned(batches, Other, folder=tmp_path, epochs=1)
    (tmp_path / "candidate-0001.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"candidate-0001\.safetensors is damaged"):
        aligned(batches, folder=tmp_path, epochs=1)

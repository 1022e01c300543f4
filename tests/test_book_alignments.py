"""What a discriminator can reach, and how much of that it has."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from prunekit.adversarial import discriminator_loss
from prunekit.book.alignments import CANNOT_TELL, TELLS, told, told_in_words


def test_what_a_discriminator_can_reach_is_what_the_library_gives_at_best():
    """Over all beliefs about alike outputs, and about the student's where all can be told."""
    logits = torch.linspace(-6, 6, 2001, dtype=torch.double)
    alike = [discriminator_loss(lambda outputs, at=at: at, logits, logits) for at in logits]
    assert min(alike).item() == pytest.approx(CANNOT_TELL, abs=1e-5)
    one = torch.ones(1, 1, dtype=torch.double)

    def certain(outputs, at):
        return 60 * one if (outputs > 0).all() else at * one

    apart = [discriminator_loss(lambda x, at=at: certain(x, at), one, -one) for at in logits]
    assert min(apart).item() == pytest.approx(TELLS, abs=1e-5)


def test_how_much_was_told_is_read_at_the_last_epoch():
    halfway = (CANNOT_TELL + TELLS) / 2
    rows = {"variant": "both", "seed": [0, 0, 1, 1]}
    found = pd.DataFrame(rows | {"discriminator_loss": [TELLS, halfway, 2, CANNOT_TELL]})
    assert told_in_words(found, "both") == "0% to 50%"
    assert told_in_words(found[found["seed"] == 0], "both") == "50%"
    assert told(9) == 0 and told(0) == 1

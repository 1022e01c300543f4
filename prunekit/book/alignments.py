"""How far a discriminator has come in telling two networks apart."""

from __future__ import annotations

import math

import pandas as pd

#: The least that a discriminator's loss can be where both networks' outputs are alike, and where
#: they can be told apart with certainty.
CANNOT_TELL, TELLS = 3 * math.log(3) - 2 * math.log(2), 2 * math.log(2)


def told(loss: float) -> float:
    """How far a discriminator's loss has come from ``CANNOT_TELL``, 0, to ``TELLS``, 1.

    Examples
    --------
    >>> told(3.0), told(TELLS), round(told((CANNOT_TELL + TELLS) / 2), 2)
    (0.0, 1.0, 0.5)
    """
    return min(1.0, max(0.0, (CANNOT_TELL - loss) / (CANNOT_TELL - TELLS)))


def told_in_words(candidates: pd.DataFrame, variant: str) -> str:
    """How far the discriminators of a variant had come at the last epoch, as text."""
    here = candidates[candidates["variant"] == variant]
    shares = here.groupby("seed")["discriminator_loss"].last().map(told)
    low, high = f"{shares.min():.0%}", f"{shares.max():.0%}"
    return low if low == high else f"{low} to {high}"

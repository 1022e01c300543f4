"""What is recorded, read for the tests of what chapters say of it."""

from __future__ import annotations

import pandas as pd

from prunekit.book import BOOK
from prunekit.book.differences import in_words, paired_differences
from prunekit.study import read_study
from prunekit.study.recorded import Recorded

RESULTS = BOOK / "results"


def study(name: str) -> Recorded:
    return Recorded(RESULTS / name, read_study(name, BOOK / "studies"))


def networks(name: str) -> pd.DataFrame:
    return study(name).table("networks")


def means(name: str) -> pd.Series:
    return networks(name).groupby("variant")["test_accuracy"].mean()


def in_bfloat16(name: str) -> dict[str, bool]:
    """Whether each recorded run trained in bfloat16, as processors with AVX-512 do."""
    records = study(name).records()
    return {
        run: record["machine"]["instruction_set"].startswith("AVX512")
        for run, record in records.items()
    }


def verdict(table: pd.DataFrame, one: str, other: str) -> str:
    """How the first compares with the second on test, seed by seed."""
    pairs = paired_differences(table.assign(ratio=0), one, other, "test_accuracy")
    return in_words(pairs.iloc[0]).split("**")[1]

"""The scorecard of the page says its verdicts by sign and word."""

from __future__ import annotations

import pandas as pd
import pytest

from prunekit.book import BOOK
from prunekit.book.claims import VERDICTS, scorecard
from prunekit.book.plots.scorecard import scorecard_table


@pytest.fixture(scope="module")
def card():
    """The book's claims before anything is recorded."""

    def nothing(name):
        raise FileNotFoundError(name)

    return scorecard(pd.read_csv(BOOK / "claims.csv"), nothing)


def test_every_claim_is_a_row_with_its_verdict(card):
    page = scorecard_table(card).to_html()
    assert page.count("– not measured") == len(card)
    for claim in card["claim"]:
        assert claim.split("<")[0] in page
    assert "seeds" not in page and "python -m prunekit.study" in page


def test_every_verdict_has_a_sign_of_its_own(card):
    rows = card[:1].loc[card.index[[0] * len(VERDICTS)]].assign(verdict=VERDICTS)
    page = scorecard_table(rows.reset_index(drop=True)).to_html()
    signs = {page.split(f" {verdict}</td>")[0][-1] for verdict in VERDICTS}
    assert len(signs) == len(VERDICTS) and not any(sign.isalnum() for sign in signs)


def test_an_unknown_verdict_is_refused(card):
    with pytest.raises(KeyError, match="perhaps"):
        scorecard_table(card[:1].assign(verdict="perhaps"))

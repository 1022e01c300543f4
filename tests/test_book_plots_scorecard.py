"""The scorecard of the page says its verdicts by sign and word."""

from __future__ import annotations

import pandas as pd
import pytest

from prunekit.book import BOOK
from prunekit.book.claims import scorecard
from prunekit.book.plots.scorecard import SIGNS, printed_table, reasons_table, scorecard_table
from prunekit.book.printed import accuracy_claims, pattern_claims


def nothing(name):
    raise FileNotFoundError(name)


@pytest.fixture(scope="module")
def card():
    """The book's claims before anything is recorded."""
    return scorecard(pd.read_csv(BOOK / "claims.csv"), nothing)


def test_every_claim_is_a_row_with_its_verdict(card):
    page = scorecard_table(card).to_html()
    assert page.count("– not measured") == len(card)
    for claim in card["claim"]:
        assert claim.split("<")[0] in page
    assert "seeds" not in page and "python -m prunekit.study" in page
    assert "<code>run thesis_88px</code>" in page


def test_every_verdict_has_a_sign_of_its_own(card):
    rows = card[:1].loc[card.index[[0] * len(SIGNS)]].assign(verdict=[*SIGNS])
    page = scorecard_table(rows.reset_index(drop=True)).to_html()
    signs = {page.split(f" {verdict}</td>")[0][-1] for verdict in SIGNS}
    assert len(signs) == len(SIGNS) and not any(sign.isalnum() for sign in signs)


def test_claims_that_our_runs_contradict_stand_before_those_they_leave_open(card):
    rows = card[:3].assign(
        verdict=["not confirmed", "better", "not confirmed"],
        excluded=[False, True, True],
        low=[-0.2, 3, 2944],
        high=[0.3051, 4, 2944],
        reason=["too few seeds", "", "another count"],
    )
    page = reasons_table(rows).data
    for said, claim, why in zip(
        page["claim, and why"], rows["claim"][::-2], rows["reason"][::-2], strict=True
    ):
        assert said.startswith(f"{claim}<br>") and f">{why}<" in said
    assert page["the interval"].tolist() == ["contradicts", "leaves open"]
    assert page["95 % interval"].tolist() == ["2944 to 2944", "-0.2 to 0.31"]


def test_an_unknown_verdict_is_refused(card):
    with pytest.raises(KeyError, match="perhaps"):
        scorecard_table(card[:1].assign(verdict="perhaps"))


def test_every_printed_accuracy_is_a_claim_but_that_of_no_network_at_all():
    printed = pd.read_csv(BOOK / "thesis_accuracy.csv")
    claims = accuracy_claims(printed, "ratios")
    assert len(claims) == 2 * (len(printed) - 1)
    row = claims.set_index("claim").loc["Accuracy at 70 %, Taylor"]
    assert (row["thesis"], row["at"], row["variant"]) == (73, 0.7, "taylor")
    page = printed_table(scorecard(claims, nothing), claims, "ratio", "criterion").data
    assert page.columns.tolist() == [
        (name, part) for name in ("L2", "Taylor") for part in ("thesis", "ours", "verdict")
    ]
    assert page.loc[70, ("L2", "thesis")] == "70 %" and page.loc[67, ("Taylor", "thesis")] == "74 %"
    assert (page.xs("verdict", axis=1, level=1) == "–").all(axis=None)


def test_every_printed_block_is_a_claim_on_its_share():
    claims = pattern_claims(pd.read_csv(BOOK / "thesis_pattern.csv"), "ratios")
    assert set(claims["at"]) == {1536}
    assert claims["thesis"].sum() == pytest.approx(100, abs=0.5)
    page = printed_table(scorecard(claims, nothing), claims, "block").data
    assert page.loc["Fire 11", "thesis"] == "24.5 %"  # 377 of 1536

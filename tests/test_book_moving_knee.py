"""The knee that moves and the tangent that moves give the numbers that Python gives."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from moving import READING, as_page, knee_networks, tangents

from prunekit.book import BOOK
from prunekit.book.findings import over_seeds
from prunekit.book.knees import knee_within, knees
from prunekit.book.moving.knee import moving_knee
from prunekit.book.moving.tangent import moving_tangent
from prunekit.book.starts import with_start
from prunekit.study.declaration import read_study
from prunekit.study.recorded import Recorded

DROPS = [step / 1000 for step in range(101)]


@pytest.fixture(scope="module")
def recorded() -> tuple[pd.DataFrame, pd.DataFrame]:
    ratios, criteria = (
        Recorded(BOOK / "results" / name, read_study(name, BOOK / "studies"))
        for name in ("ratios", "criteria")
    )
    tables = [study.table("networks") for study in (ratios, criteria)]
    return pd.concat(tables, ignore_index=True), ratios.started()


def test_every_knee_of_every_recorded_run_is_that_of_python(page, recorded):
    figure = moving_knee(*recorded)
    page.set_content(as_page(figure))
    found = page.evaluate(
        """([curves, drops]) => curves.map(({ ratio, val, seeds }) => drops.map((drop) => [
            prunekitKnee.within(ratio, val, drop),
            ...seeds.map((seed) => prunekitKnee.within(seed.ratio, seed.val, drop))]))""",
        [figure.data["curves"], DROPS],
    )
    networks, start = recorded
    for place, drop in enumerate(DROPS):
        by_run = knees(networks, drop, start).groupby("variant", sort=False)["within"].agg(list)
        assert len(by_run) == len(found)
        for (variant, own), curve in zip(by_run.items(), found, strict=True):
            assert curve[place][1:] == pytest.approx(own, abs=1e-9), (variant, drop)
    runs = with_start(*recorded)
    for curve, (_, rows) in zip(found, runs.groupby("variant", sort=False), strict=True):
        mean = over_seeds(rows, "val_accuracy", ["ratio"])["mean"].sort_index()
        wanted = [knee_within(mean.index, mean, drop) for drop in DROPS]
        assert [one[0] for one in curve] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("variant, place", [("taylor", 0), ("random", 1)])
@pytest.mark.parametrize("drop", [0.0, 0.004, 0.01, 0.026, 0.1])
def test_the_reading_is_taken_on_test_at_the_knee_of_validation(page, variant, place, drop):
    networks = knee_networks()
    page.set_content(as_page(moving_knee(networks)))
    page.locator("select").select_option(str(place))
    page.locator("input[type=range]").fill(str(round(1000 * drop)))
    rows = networks[networks["variant"] == variant].groupby("ratio")
    val, test = (rows[f"{part}_accuracy"].mean() for part in ("val", "test"))
    knee = knee_within(val.index, val, drop)
    reached = np.interp(knee, test.index, test)
    said = page.locator(READING).text_content().replace("\xa0", " ")
    assert f"has lost {100 * drop:.1f} points at {100 * knee:.1f} % of the filters" in said
    assert f"{100 * (test.iloc[0] - reached):.1f} points are lost on test" in said
    assert f"{100 * reached:.1f} % are right" in said
    own = 100 * knees(networks, drop).set_index("variant").loc[variant, "within"]
    low, high = f"{own.min():.0f} %", f"{own.max():.0f} %"
    assert f"single seeds say {low if low == high else f'{low} to {high}'}." in said


def test_a_curve_that_never_loses_so_much_ends_where_it_ends(page):
    flat = pd.DataFrame({"variant": "taylor", "seed": 0, "ratio": [0.0, 0.4], "val_accuracy": 0.9})
    page.set_content(as_page(moving_knee(flat.assign(test_accuracy=0.8))))
    said = page.locator(READING).text_content().replace("\xa0", " ")
    assert "never loses more than 1.0 points up to 40 %" in said and "80.0 % are right" in said


def test_the_chapter_says_of_the_seeds_what_is_recorded(recorded):
    """Allowed one point, Taylor's seeds lie far apart; allowed five, they agree; test is near."""
    taylor = recorded[0][recorded[0]["variant"] == "taylor"]
    one, five = (knees(taylor, drop, recorded[1]) for drop in (0.01, 0.05))
    assert np.ptp(one["within"]) > 0.1 and np.ptp(five["within"]) < 0.01
    lost = 100 * pd.concat([one["accuracy_lost"] - 0.01, five["accuracy_lost"] - 0.05])
    assert lost.abs().max() < 0.6 and (lost.abs() > 1e-3).all()


@pytest.mark.parametrize("filters, name", enumerate(["parabola", "line"]))
def test_tangents_predict_what_their_derivative_says(page, filters, name):
    curves, slopes = tangents()
    page.set_content(as_page(moving_tangent(curves, slopes)))
    page.locator("select").select_option(str(filters))
    slider = page.locator("input[type=range]")
    assert slider.get_attribute("aria-valuetext") == "t = 1.00"
    slider.press("Home")
    for t in curves.index:
        said = page.locator(READING).text_content().replace("\u2212", "-")
        numbers = [float(one) for one in re.findall(r"[+-]\d+\.\d+", said)]
        true = curves.loc[0.0, name] - curves.loc[t, name]
        predicted = -t * slopes.loc[t, name]
        assert numbers == pytest.approx([true, predicted, true - predicted], abs=6e-4)
        assert f"{name}, t = {t:.2f}" in said
        slider.press("ArrowRight")


def test_the_tangent_follows_the_dot_that_is_dragged(page):
    page.set_content(as_page(moving_tangent(*tangents())))
    box = page.locator("[data-control=at] circle:last-child").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    ticks = page.locator(".picture text", has_text="0.6").first.bounding_box()
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(ticks["x"] + ticks["width"] / 2, y, steps=4)
    page.mouse.up()
    assert page.locator(READING).text_content().startswith("parabola, t = 0.60")


def test_tables_that_do_not_go_together_are_refused():
    curves, slopes = tangents()
    with pytest.raises(ValueError, match="the same scales and filters"):
        moving_tangent(curves, slopes.iloc[1:])
    with pytest.raises(ValueError, match="must include 0 and 1"):
        moving_tangent(curves.iloc[1:], slopes.iloc[1:])

"""The heap, the plane and the circle of twins in the page take what the library takes."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from moving import READING, as_page, ranking, scores, twins

from prunekit import select
from prunekit.book.heap import heap_states
from prunekit.book.moving.heap import moving_heap
from prunekit.book.moving.plane import moving_plane
from prunekit.book.moving.twins import moving_twins
from prunekit.criteria.twins import nearest

SHOWN = "() => document.querySelector('.picture').getAttribute('aria-label')"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("floor", [1, 2, 3])
def test_each_state_of_the_heap_is_that_of_python(page, seed, floor):
    table = ranking(seed)
    page.set_content(as_page(moving_heap(table, count=3, min_filters=floor)))
    found = page.evaluate(
        """([scores, floor]) => prunekitHeap.states(scores, "pop pop pop", floor, 15).map(
            ({ heap, taken, kept, focus, note }) =>
                [heap, taken, kept].map((all) => all.map((one) => one.name)).concat([focus, note]))
        """,
        [moving_heap(table, 3, floor).data["scores"], floor],
    )
    wanted = [
        [[one.name for one in entries] for entries in (state.heap, state.taken, state.kept)]
        + [list(state.focus), state.note]
        for state in heap_states(table, count=3, min_filters=floor)
    ]
    assert found == wanted


def test_steps_pops_and_pushes_by_button(page):
    toy = pd.DataFrame({"layer": "a", "filter": [0, 1, 2, 3], "score": [0.5, 0.4, 0.3, 0.2]})
    page.set_content(as_page(moving_heap(toy, count=1, min_filters=1)))
    press = {one: page.get_by_role("button", name=one) for one in ("Next", "Back", "Pop", "Push")}
    array = lambda: re.findall(r"(?<= )[\d.]+(?=,|$)", page.evaluate(SHOWN))  # noqa: E731
    assert array() == ["0.5", "0.4", "0.3", "0.2"]
    press["Next"].click()
    assert array() == ["0.5", "0.2", "0.3", "0.4"]
    press["Back"].click()
    press["Back"].click()  # nothing comes before the first
    assert array() == ["0.5", "0.4", "0.3", "0.2"]
    page.locator("[id$=number]").fill("1")
    press["Push"].click()
    assert "Push 0.01: it goes to the end" in page.locator(READING).text_content()
    page.locator("[id$=step]").press("End")
    assert array()[0] == "0.01"
    press["Pop"].click()
    assert "Take a4 (0.01)" in page.locator(READING).text_content()
    page.get_by_role("button", name="Forget").click()
    assert page.locator("[id$=then]").input_value() == ""
    assert page.locator("output[for$=step]").text_content().startswith("0 of ")


def test_scores_of_ones_own_and_a_heap_that_is_emptied(page):
    page.set_content(as_page(moving_heap(ranking(), count=1)))
    page.locator("[id$=scores]").fill("x 3, 1; y -2 nonsense 1e2")
    page.locator("[id$=then]").fill("pop pop pop pop pop")
    page.locator("[id$=floor]").fill("0")
    page.locator("[id$=step]").press("End")
    assert "Taken: y0, x1, x0, nonsense0." in page.locator(READING).text_content()
    page.locator("[id$=scores]").fill("")
    page.locator("[id$=then]").fill("pop")
    assert "There is no score yet" in page.locator(READING).text_content()
    assert "Taken: none" in page.locator(READING).text_content()


def test_what_does_not_fit_is_said_and_words_mean_what_they_say(page):
    page.set_content(as_page(moving_heap(ranking(), count=0)))
    page.locator("[id$=scores]").fill("constructor " + " ".join(map(str, range(17))))
    assert "Of 17 scores the first 15 are here" in page.locator(READING).text_content()
    page.locator("[id$=then]").fill("push 0.5")
    page.locator("[id$=step]").press("End")
    assert "There is no room for 0.5: 15 entries are here" in page.locator(READING).text_content()
    page.locator("[id$=then]").fill("POP")
    assert "Taken: constructor0." in page.locator(READING).text_content()


def test_more_scores_than_can_be_drawn_are_refused():
    many = pd.DataFrame({"layer": "a", "filter": range(16), "score": 0.5})
    with pytest.raises(ValueError, match="a heap of 16 cannot be drawn: take 15"):
        moving_heap(many, 3)


@pytest.mark.parametrize("seed", range(4))
def test_what_the_line_cuts_off_is_what_select_takes(page, seed):
    table = scores(seed=seed)
    figure = moving_plane(table, "activation_l2", "taylor")
    page.set_content(as_page(figure))
    x, y = (table[name].rank(method="dense").astype(int) for name in ("activation_l2", "taylor"))
    held = 0
    for alpha in (0, 1, 37, 50, 88, 100):
        for count in (1, 5, 13, 30):
            weighed = alpha * x + (100 - alpha) * y
            found = page.evaluate(
                "([scores, sizes, count]) => prunekitPlane.taken(scores, sizes, count, 2)",
                [weighed.tolist(), figure.data["sizes"], count],
            )
            chosen = select(table.assign(score=weighed), count)
            assert sorted(found["gone"]) == sorted(i for all_of in chosen.values() for i in all_of)
            held += len(found["held"])
    assert held  # the floor was met on the way


@pytest.mark.parametrize("alpha, share", [(50, 25), (80, 60), (0, 10), (100, 40)])
def test_the_picture_strikes_out_as_many_as_the_sentence_says(page, alpha, share):
    table = scores()
    page.set_content(as_page(moving_plane(table, "activation_l2", "taylor")))
    page.locator("[id$=alpha]").fill(str(alpha))
    page.locator("[id$=share]").fill(str(share))
    x, y = (table[name].rank(method="dense") for name in ("activation_l2", "taylor"))
    count = round(len(table) * share / 100)
    lists = [
        {(layer, i) for layer, all_of in select(table.assign(score=score), count).items()
         for i in all_of}
        for score in (alpha * x + (100 - alpha) * y, x, y)
    ]  # fmt: skip
    said = page.locator(READING).text_content().replace("\xa0", " ")
    assert f"{count} of {len(table)} filters go" in said
    both = [len(lists[0] & alone) for alone in lists[1:]]
    assert f"would take {both[0]}, and Taylor alone {both[1]}." in said
    drawn = page.eval_on_selector_all(
        "[data-name]", "all => all.map((one) => one.getAttribute('d').split('M').length - 1)"
    )
    assert drawn[1] == count and sum(drawn) == len(table)


def test_filters_of_a_layer_must_follow_one_another():
    mixed = scores().sample(frac=1, random_state=0)
    with pytest.raises(ValueError, match="must follow one another"):
        moving_plane(mixed, "activation_l2", "taylor")


@pytest.mark.parametrize("seed", range(3))
def test_twins_are_those_of_the_library_and_none_are_left_when_some_have_gone(page, seed):
    layer, similarity, table = twins(seed=seed)
    page.set_content(as_page(moving_twins(layer, similarity, table)))
    closest = nearest({layer: similarity})["similarity"]
    for hundredths in range(30, 101, 5):
        threshold = hundredths / 100
        page.locator("input[type=range]").fill(str(hundredths))
        said = page.locator(READING).text_content()
        having = int((closest >= threshold).sum())
        if not having:
            assert said == "No two of the 14 filters of conv are so similar."
            continue
        pairs = int((similarity[np.triu_indices(14, 1)] >= threshold).sum())
        assert said.startswith(f"{having} of the 14 filters of conv have a twin (pairs: {pairs}).")
        assert page.locator("[data-name=pair]").count() == pairs
        going = int(said.split(". ")[1].split()[0])
        chosen = select(table, going)[layer]
        left = np.delete(np.arange(14), chosen)
        among = nearest({layer: similarity[np.ix_(left, left)]})["similarity"]
        assert (among < threshold).all()
        # One fewer would not do.
        last = table.loc[chosen, "score"].idxmax()
        again = [*left, last]
        among = nearest({layer: similarity[np.ix_(again, again)]})["similarity"]
        assert (among >= threshold).any()


def test_twins_of_another_layer_are_refused():
    layer, similarity, table = twins()
    with pytest.raises(ValueError, match="the same filters of conv"):
        moving_twins(layer, similarity, table.iloc[1:])

"""Every figure that moves: by mouse, finger and keyboard, at every width, alone and in the dark."""

from __future__ import annotations

import numpy as np
import pytest
from moving import FIGURES, READING, as_page

from prunekit.book.moving.page import MovingFigure

PHONE = {"width": 390, "height": 844}
#: All that a slider may change but its own number.
STATE = """slider => [...document.querySelectorAll(".picture, .reading, button, output")]
    .filter((one) => one.htmlFor?.value !== slider).map((one) => one.outerHTML).join()"""
POINTED_AT = {"convolution", "groups", "receptive"}
NO_HANDLE = {"heap", "layers"} | POINTED_AT
#: What every control holds, and where each grid lies on the screen.
HELD = "() => [...document.querySelectorAll('input, select')].map((one) => one.value).join()"
CENTRES = """all => all.map((one) => one.getBoundingClientRect())
    .map(({ left, top, width, height }) => [left + width / 2, top + height / 2])"""


@pytest.fixture(params=FIGURES)
def figure(request):
    return FIGURES[request.param]()


@pytest.fixture
def shown(page, figure, tmp_path):
    """The figure on a page that came from disk; nothing was asked of any other place."""
    wrong = []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith("file:") else wrong.append(r.url))
    path = tmp_path / "page.html"
    path.write_text(as_page(figure), "utf-8")
    page.goto(path.as_uri())
    yield page
    assert wrong == []


def names(page, selector: str = "input[type=range]") -> list[str]:
    return page.eval_on_selector_all(selector, "all => all.map(one => one.id)")


def grip(page, name: str) -> tuple[float, float]:
    """Where the handle lies that moves a control, on the screen."""
    box = page.locator(f"[data-control={name}] circle:last-child").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_every_slider_is_moved_by_keys_and_says_where_it_stands(shown):
    for name in names(shown):
        slider = shown.locator(f"#{name}")
        before, said = shown.evaluate(STATE, name), slider.get_attribute("aria-valuetext")
        slider.press("ArrowLeft" if slider.input_value() != slider.get_attribute("min") else "End")
        assert shown.evaluate(STATE, name) != before
        assert said != slider.get_attribute("aria-valuetext")
        assert shown.locator(f"output[for={name}]").text_content() == slider.get_attribute(
            "aria-valuetext"
        )


def test_every_handle_is_dragged_by_mouse_and_then_moved_by_keys(shown, figure):
    handles = shown.eval_on_selector_all(".handle", "all => all.map(one => one.dataset.control)")
    assert bool(handles) == (figure.name not in NO_HANDLE)
    for name in handles:
        slider = shown.locator(f"input[id$={name}]")
        before, (x, y) = slider.input_value(), grip(shown, name)
        shown.mouse.move(x, y)
        shown.mouse.down()
        shown.mouse.move(x - 60, y + 40, steps=5)
        shown.mouse.up()
        dragged = slider.input_value()
        assert dragged != before
        shown.mouse.move(x, y)  # let go: it follows no longer
        assert slider.input_value() == dragged
        shown.keyboard.press("ArrowLeft")
        assert slider.input_value() != dragged
        assert "current" in shown.locator(f"[data-control={name}]").get_attribute("class")


def test_a_finger_drags_the_handle_too(browser, figure):
    if figure.name in NO_HANDLE:
        pytest.skip("nothing in this picture is dragged: its controls are tapped")
    context = browser.new_context(has_touch=True, is_mobile=True, viewport=PHONE)
    page = context.new_page()
    page.set_content(as_page(figure))
    name = page.locator(".handle").first.get_attribute("data-control")
    slider = page.locator(f"input[id$={name}]")
    page.locator(".picture").scroll_into_view_if_needed()
    before, (x, y) = slider.input_value(), grip(page, name)
    touch = context.new_cdp_session(page)
    for kind, step in (("touchStart", 0), ("touchMove", 20), ("touchMove", 50)):
        # Beside the dot: a finger is not exact.
        points = [{"x": x + 12 - step, "y": y + step}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert slider.input_value() != before
    context.close()


def test_what_is_pointed_at_sets_a_slider_that_keys_then_move(shown, figure):
    grids = shown.locator(".grid")
    assert bool(grids.count()) == (figure.name in POINTED_AT)
    values = set()
    for x, y in shown.eval_on_selector_all(".grid", CENTRES):
        shown.mouse.move(x, y)
        values.add(shown.evaluate(HELD))
    if not values:
        return
    assert len(values) > (figure.name == "groups")  # it has many grids, and each its own groups
    shown.mouse.down()
    shown.mouse.up()
    before = shown.evaluate(HELD)
    shown.keyboard.press("ArrowLeft")
    assert shown.evaluate(HELD) != before


def test_a_finger_taps_what_a_mouse_points_at(browser, figure):
    if figure.name not in POINTED_AT:
        pytest.skip("nothing in this picture is pointed at")
    context = browser.new_context(has_touch=True, is_mobile=True, viewport=PHONE)
    page = context.new_page()
    page.set_content(as_page(figure))
    before = page.evaluate(HELD)
    grid = page.locator(".grid").last
    grid.scroll_into_view_if_needed()
    box = grid.bounding_box()
    grid.tap(position={"x": box["width"] - 4, "y": box["height"] - 4})
    assert page.evaluate(HELD) != before
    context.close()


def test_every_control_has_a_name_and_the_reading_is_spoken_when_the_hand_rests(shown):
    for name in names(shown, ".controls :is(input, select)"):
        assert shown.locator(f"label[for={name}]").text_content().strip()
    reading = shown.locator(READING)
    assert len(reading.text_content()) > 40
    assert reading.get_attribute("aria-live") == "polite"
    assert shown.locator(".moving-figure").get_attribute("role") == "group"
    assert shown.locator(".picture").get_attribute("aria-label")
    shown.wait_for_selector(f"{READING}:not([aria-busy])")
    slider = shown.locator("input[type=range]").last
    slider.press("Home" if slider.input_value() != slider.get_attribute("min") else "End")
    assert reading.get_attribute("aria-busy") == "true"
    shown.wait_for_selector(f"{READING}:not([aria-busy])")


def test_a_phone_shows_it_whole_in_letters_of_the_same_size(shown):
    wide = shown.locator(".picture").bounding_box()["width"]
    shown.set_viewport_size(PHONE)
    shown.wait_for_function(
        "wide => document.querySelector('.picture').viewBox.baseVal.width < wide", arg=wide
    )
    assert shown.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    inside = """all => all.map(one => [one.textContent, one.getBoundingClientRect()])
        .filter(([, box]) => box.left < 0 || box.right > innerWidth + 0.5).map(([text]) => text)"""
    assert shown.eval_on_selector_all(".picture text", inside) == []
    sizes = """all => all.map(one => [one.getScreenCTM(), getComputedStyle(one).fontSize])
        .map(([{ a, b }, size]) => Math.hypot(a, b) * parseFloat(size))"""
    assert min(shown.eval_on_selector_all(".picture text", sizes)) > 10.5


def test_the_dark_theme_turns_the_picture_and_not_the_words(page, figure):
    page.set_content(as_page(figure, theme="dark"))
    filters = "all => all.map(one => getComputedStyle(one).filter)"
    assert all(one.startswith("invert") for one in page.eval_on_selector_all("svg", filters))
    assert page.eval_on_selector_all(".reading, label", filters).count("none") > 1


def test_two_on_a_page_move_apart(page, figure):
    page.set_content(as_page(figure, type(figure)(*given(figure))))
    assert page.locator(".moving-figure").count() == 2
    first = page.locator(".moving-figure").first.locator("input[type=range]").last
    second = page.locator(READING).nth(1)
    before = second.text_content()
    first.press("Home" if first.input_value() != first.get_attribute("min") else "End")
    assert second.text_content() == before
    assert page.locator(READING).nth(0).text_content() != before


def given(figure: MovingFigure) -> tuple:
    return figure.name, figure.data, figure.still


def test_without_scripts_a_sentence_leads_to_the_still_figure(browser, figure):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(as_page(figure))
    assert figure.still in page.locator(".moving-figure").text_content()
    assert figure.still in figure._repr_markdown_()
    context.close()


def test_a_figure_is_a_few_kilobytes(figure):
    assert len(MovingFigure(figure.name, {}, "").html) < 24_000


def test_no_text_in_the_data_ends_the_script():
    figure = MovingFigure("knee", {"curves": ["</script><b>"]}, "Above & below.")
    assert figure.html.count("</script>") == 1 and "Above &amp; below." in figure.html


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        MovingFigure("knee", {"curves": [number]}, "")

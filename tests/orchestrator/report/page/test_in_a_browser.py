"""The report in a real browser (Chromium, headless), from the disk: it zooms, tells, folds, and fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import rundir


@pytest.fixture
def page(browser: Any, quickstart: Any) -> Iterator[Any]:
    """The report of the quickstart; anything said on the console, any error and any request but its own fails."""
    opened = browser.new_page(viewport={"width": 1280, "height": 1000})
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url))
    url = (quickstart.path / rundir.REPORT).as_uri()
    opened.goto(url)
    yield opened
    opened.close()
    assert set(said) == {url}


def seconds(page: Any) -> tuple[float, float]:
    """The window of the time line as it says it."""
    text = page.inner_text("output.window")
    (first, last) = re.findall(r"(\d+):(\d+):([\d.]+)", text)
    return tuple(int(hour) * 3600 + int(minute) * 60 + float(second) for hour, minute, second in (first, last))  # type: ignore[return-value]


def across(page: Any, at_s: float) -> float:
    """Where an instant stands on the whole time line, in pixels of the page."""
    box = page.query_selector(".track").bounding_box()
    first, last = seconds(page)
    return float(box["x"] + box["width"] * (at_s - first) / (last - first))


def test_it_begins_with_the_whole_run(page: Any, quickstart: Any) -> None:
    assert seconds(page) == (0, quickstart.end_ns / 1e9)
    assert page.is_disabled("[data-zoom=all]")


def test_dragging_across_it_zooms_to_what_was_dragged_across(page: Any) -> None:
    y = page.query_selector(".machines svg").bounding_box()["y"] + 30
    page.mouse.move(across(page, 400), y)
    page.mouse.down()
    page.mouse.move(across(page, 480), y, steps=4)
    assert page.is_visible(".brush")
    page.mouse.up()
    first, last = seconds(page)
    assert (first, last) == (pytest.approx(400, abs=1), pytest.approx(480, abs=1))
    assert not page.is_visible(".brush")


def test_bars_and_strokes_stand_at_their_instants_after_a_zoom(page: Any, quickstart: Any) -> None:
    for _ in range(3):
        page.click("[data-zoom=in]")
    page.click("[data-zoom=right]")
    (lost,) = quickstart.of("machine.lost")
    page.keyboard.press("Home")
    page.click("[data-zoom=all]") if page.is_enabled("[data-zoom=all]") else None
    for zooms in (0, 1):
        if zooms:
            page.click("[data-zoom=in]")
        bar = page.query_selector("a.span.chaos").bounding_box()
        assert bar["x"] == pytest.approx(across(page, lost.at_ns / 1e9), abs=1.5)
        wide = page.evaluate("document.querySelector('.machines svg').viewBox.baseVal.width")
        first, last = seconds(page)
        units = int(page.get_attribute(".plot", "data-units"))
        assert wide / units == pytest.approx((last - first) / (quickstart.end_ns / 1e9), rel=1e-3)


def test_keys_zoom_and_move_it(page: Any, quickstart: Any) -> None:
    end = quickstart.end_ns / 1e9
    page.focus(".plot")
    page.keyboard.press("+")
    assert seconds(page) == (pytest.approx(end / 4, abs=0.2), pytest.approx(end * 3 / 4, abs=0.2))
    page.keyboard.press("ArrowRight")
    assert seconds(page) == (pytest.approx(end / 2, abs=0.2), pytest.approx(end, abs=0.2))
    page.keyboard.press("-")
    page.keyboard.press("0")
    assert seconds(page) == (0, end)


def test_the_wheel_zooms_with_ctrl_at_the_pointer_and_scrolls_without(page: Any) -> None:
    y = page.query_selector(".machines svg").bounding_box()["y"] + 30
    x = across(page, 420)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    for _ in range(6):
        page.mouse.wheel(0, -50)
    page.keyboard.up("Control")
    page.wait_for_function("!document.querySelector('[data-zoom=all]').disabled")
    assert across(page, 420) == pytest.approx(x, abs=8)  # the window is told in tenths of a second


def test_it_cannot_be_zoomed_beyond_its_ends_nor_into_nothing(page: Any, quickstart: Any) -> None:
    page.focus(".plot")
    for _ in range(30):
        page.keyboard.press("+")
    first, last = seconds(page)
    assert 0 < last - first <= quickstart.end_ns / 1e9 / 3000
    assert page.is_disabled("[data-zoom=in]")
    for _ in range(40):
        page.keyboard.press("-")
    assert seconds(page) == (0, quickstart.end_ns / 1e9)


def test_the_pointer_is_told_what_a_realm_did_there_and_for_how_long(page: Any, quickstart: Any) -> None:
    (lost,) = quickstart.of("machine.lost")
    realm = lost.what["realms"][0][0]
    names = page.eval_on_selector_all(".realms .names > div", "all => all.map((one) => one.textContent)")
    rows = page.query_selector(".realms svg").bounding_box()
    tall = rows["height"] / len(names)
    page.mouse.move(across(page, lost.at_ns / 1e9 + 15), rows["y"] + tall * (names.index(realm) + 0.5))
    tip = page.wait_for_selector(".tip:not([hidden])").inner_text()
    assert tip.startswith(realm)
    assert "stands still: machine-lost · 00:07:00.0" in tip


def test_a_bar_leads_to_the_part_that_tells_it(page: Any) -> None:
    page.evaluate("document.querySelector('#session-move-0001').open = false")
    page.click("a.span.move")
    page.wait_for_selector("#session-move-0001[open]")


def test_every_drawing_has_words_and_every_button_a_name(page: Any) -> None:
    assert page.eval_on_selector_all(
        "svg:not([aria-hidden=true])", "all => all.filter((one) => !one.getAttribute('aria-label')).length"
    ) == 0  # fmt: skip
    assert page.eval_on_selector_all("button", "all => all.filter((one) => !one.ariaLabel).length") == 0
    for landmark in ("header", "nav[aria-label]", "main", "footer"):
        assert page.query_selector(landmark) is not None
    headings = page.eval_on_selector_all("section", "all => all.map((one) => one.querySelector('h2').id)")
    assert headings == page.eval_on_selector_all(
        "section", "all => all.map((one) => one.getAttribute('aria-labelledby'))"
    )


@pytest.mark.parametrize("width", [1280, 420])
def test_it_fits_a_wide_and_a_narrow_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_drawn_without_scripts_too(browser: Any, quickstart: Any) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 1000})
    plain = context.new_page()
    plain.goto((quickstart.path / rundir.REPORT).as_uri())
    bar = plain.query_selector("a.span.chaos").bounding_box()
    track = plain.query_selector(".track").bounding_box()
    (fault, *_) = quickstart.of("fault.injected")
    assert bar["x"] == pytest.approx(track["x"] + track["width"] * fault.at_ns / quickstart.end_ns, abs=1.5)
    assert plain.query_selector_all(".ticks span")
    context.close()

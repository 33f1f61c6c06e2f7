"""The tabs beside Explore in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page import EXAMPLES, OPENING, changes, check, choose, show, upload
from PIL import Image

from vggviz.app.markup import attention_title
from vggviz.app.tabs import TABS
from vggviz.cam import METHODS
from vggviz.explainer import Explainer
from vggviz.locales import text
from vggviz.weights import bundled_types

Visit = Callable[..., Any]

GRID, ROWS, IF, CURVES = (
    f"#{part} .html-container" for part in ("blocks", "types", "what-if", "faithful")
)
HOME = OPENING
OVER = """([part, all]) => {
  const bar = document.querySelector(`${part} progress`);
  return bar && (all ? bar.value === bar.max : bar.value > 0);
}"""


def go(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def runs(page: Any, part: str, *, whole: bool = True) -> None:
    """Wait until a long run is over, or well under way."""
    page.wait_for_function(OVER, arg=[part, whole])


def says(page: Any, part: str, text: str) -> None:
    page.locator(part, has_text=text).first.wait_for()


def test_all_blocks_and_their_figure(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    go(page, "All stages")
    page.locator("#blocks tbody tr").nth(2).wait_for()
    found = Explainer.load("everyday", "cbam").explain(HOME)
    weighing = sum(
        any(record.spatial is not None for record in records)
        for records in found.attention.values()
    )
    assert 0 < weighing < 5
    assert page.locator("#blocks img").count() == weighing + 5 + 5
    changes(page, GRID, lambda: check(page.get_by_label("HiResCAM")))
    heads = page.locator("#blocks tbody th").all_inner_texts()
    order = [METHODS[key].title for key in METHODS if key in ("gradcam", "hirescam", "layercam")]
    assert heads == ["Attention", *order]

    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download as PNG").click()
    assert downloading.value.suggested_filename == "vggviz-blocks.png"
    downloading.value.save_as(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as figure:
        assert (figure.format, figure.width > 800) == ("PNG", True)
        assert len(figure.convert("RGB").getcolors(1 << 24) or []) > 1000


def test_all_types_as_a_wall_and_as_numbers(visit: Visit) -> None:
    page = visit()
    go(page, "All types")
    runs(page, "#types")
    names = page.locator("#types .kind h2").all_inner_texts()
    assert sorted(names) == sorted(attention_title("en", key) for key in bundled_types())
    for key in ("none", "softmax"):
        first = Explainer.load("everyday", key).explain(HOME).prediction.top(1)[0]
        kind = page.locator(
            "#types .kind", has=page.locator(f"h2:text-is('{attention_title('en', key)}')")
        )
        assert first.label in kind.locator(".truth").inner_text()
    assert page.locator("#types .current h2").inner_text() == attention_title("en", "cbam")
    places = page.locator("#types .place")
    assert min(places.evaluate_all("(all) => all.map((one) => one.clientWidth)")) > 360
    assert places.locator(":scope > *").count() == len(names)  # none is empty
    over = page.locator("#types .over")
    box = over.first.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.75 * box["height"])
    marks = over.evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one, '::after').content !== 'none')"
    )
    assert all(marks)
    place = "getComputedStyle(document.querySelector('#types .wall')).getPropertyValue('--x')"
    assert float(page.evaluate(place).rstrip("%")) == pytest.approx(25, abs=1)
    assert not page.locator("#types table").is_visible()
    check(page.get_by_label("Numbers", exact=True))
    page.locator("#types table").wait_for()
    assert not page.locator("#types .wall").is_visible()


WATCH = """() => {
  const [start, stop] = ["#types-start", "#types-stop"].map((one) => document.querySelector(one));
  window.states = [];
  new MutationObserver(() => {
    const bar = document.querySelector("#types progress");
    window.states.push(`${start.disabled} ${stop.disabled}`);
    if (window.stops && !stop.disabled && bar.value < bar.max) stop.click();
  }).observe(document.body, {subtree: true, childList: true, attributeFilter: ["disabled"]});
}"""


def test_only_start_or_stop_of_the_wall_can_be_pressed(visit: Visit) -> None:
    page = visit()
    start, stop = page.locator("#types-start"), page.locator("#types-stop")
    go(page, "All types")
    runs(page, "#types")
    page.locator("#types-start:enabled").wait_for()
    assert stop.is_disabled()
    page.evaluate(WATCH)
    start.click()
    page.wait_for_function("window.states.includes('true false')")
    page.locator("#types-start:enabled").wait_for()
    runs(page, "#types")
    assert stop.is_disabled()
    page.evaluate("window.stops = true")
    start.click()
    page.wait_for_function("window.states.at(-1) === 'false true'")
    page.wait_for_timeout(1500)  # what was under way when it was stopped
    bar = page.locator("#types progress").evaluate("(bar) => [bar.value, bar.max]")
    assert bar[0] < bar[1]
    assert start.is_enabled()


def test_what_if(visit: Visit) -> None:
    page = visit()
    go(page, "What if")
    says(page, "#what-if", "Nothing is changed yet")
    labels = page.locator("#what-if .after .name").all_inner_texts()
    changes(page, IF, lambda: check(page.get_by_label("Without effect")))
    says(page, "#what-if .reading", "rank correlation")
    assert page.locator("#what-if .before .name").all_inner_texts() == labels
    changes(page, IF, lambda: check(page.get_by_role("radio", name="As learned")))
    says(page, "#what-if", "Nothing is changed yet")
    slider = page.locator("#what-layers input[type=range]")
    slider.focus()
    changes(page, IF, lambda: slider.press("ArrowRight"))
    says(page, "#what-if .reading", "the classifier")  # the first layer from the top
    changes(page, IF, lambda: slider.press("End"))
    says(page, "#what-if .reading", "conv1_1")  # and the last
    assert page.locator("#what-if .before .name").all_inner_texts() == labels


def test_how_faithful_runs_and_stops(visit: Visit) -> None:
    page = visit()
    go(page, "How faithful")
    says(page, "#faithful", "golden retriever")
    assert page.locator("#faithful progress").evaluate("bar => bar.value") == 0
    stop = page.locator("#faithful-stop")
    assert stop.is_disabled()
    page.locator("#faithful-start").click()
    runs(page, "#faithful", whole=False)
    assert page.locator("#faithful-start").is_disabled()
    stop.click()
    page.wait_for_timeout(1500)  # what was under way when it was stopped
    stopped = page.locator("#faithful progress").evaluate("bar => bar.value")
    page.wait_for_timeout(2500)
    now = page.locator("#faithful progress").evaluate("bar => [bar.value, bar.max]")
    assert 0 < now[0] == stopped < now[1]

    assert stop.is_disabled()
    page.locator("#faithful-start").click()
    runs(page, "#faithful")
    page.locator("#faithful-start:enabled").wait_for()
    says(page, "#faithful .reading", "One picture proves little")
    areas = [float(one) for one in page.locator("#faithful .areas td").all_inner_texts()]
    assert len(areas) == 6
    assert all(0 < area < 1 for area in areas)


def test_a_tab_speaks_the_language_that_is_chosen_while_it_is_open(visit: Visit) -> None:
    page = visit()
    go(page, "What if")
    says(page, "#what-if", "Nothing is changed yet")
    check(page.get_by_label("中文"))
    says(page, "#what-if", "尚未改变")
    # Another tab at the very moment at which the language is set.
    check(page.get_by_label("English"))
    page.locator('#tabs [role=tab][data-tab-id="faithful"]').click()
    says(page, "#faithful", "Probability of golden retriever")
    check(page.get_by_label("中文"))
    page.locator('#tabs [role=tab][data-tab-id="what_if"]').click()
    says(page, "#what-if", "尚未改变")
    assert page.locator("#what-if").get_by_text("Nothing is changed yet").count() == 0


def test_no_tab_computes_unseen(visit: Visit) -> None:
    """What Explore computes more is nothing new to the other tabs; a new picture is."""
    page = visit()
    go(page, "All stages")
    page.locator("#blocks tbody tr").nth(2).wait_for()
    go(page, "Explore")
    choose(page, "#method", "LayerCAM")
    page.get_by_role("heading", name="LayerCAM for").wait_for()
    page.evaluate("document.querySelector('#blocks table')?.setAttribute('data-old', '')")
    go(page, "All stages")
    page.wait_for_timeout(1500)
    assert page.locator("#blocks table[data-old]").count() == 1
    changes(page, GRID, lambda: upload(page, EXAMPLES / "koala.jpg"))


PHONE = {
    "pixel": ("#pixel .canvas", "#pixel-stage label"),
    "blocks": ("#blocks td .well", "#blocks-methods label"),
    "types": ("#types .place", "#types-view label"),
    "what_if": ("#what-if .after .panel", "#what-weights label"),
    "faithful": ("#faithful .curves", "#faithful-stage label"),
}
"""The first picture of each tab, and its first setting."""

SMALL_TARGETS = """() => [...document.querySelectorAll(".tabitem *")]
  .filter((one) => one.matches("button, summary, label:has(input)"))
  .filter((one) => one.checkVisibility())
  .map((one) => [one.getBoundingClientRect(), one.outerHTML.slice(0, 90)])
  .filter(([box]) => box.height > 1 && box.height < 43.5).map(([box, html]) => html)"""


def test_a_phone_has_the_map_and_its_settings_on_one_screen(visit: Visit) -> None:
    page = visit(390, 844, query="&attention=self_attention", more=False)
    for tab, (picture, setting) in PHONE.items():
        show(page, tab)
        place = page.locator(picture).first
        place.evaluate("(place) => place.scrollIntoView({block: 'start'})")
        top, below, bar = (
            one.bounding_box() for one in (place, page.locator(setting).first, page.locator("#ask"))
        )
        assert top["y"] >= -1, tab
        assert top["y"] + top["height"] <= below["y"], tab
        assert below["y"] + below["height"] <= bar["y"], tab
        assert page.evaluate(SMALL_TARGETS) == [], tab
    show(page, "pixel")
    page.locator("#pixel figure").first.evaluate("(part) => part.scrollIntoView({block: 'start'})")
    heads, strip = (
        page.locator(one).bounding_box() for one in ("#pixel .heads", ".controls:has(#pixel-stage)")
    )
    assert heads["y"] + heads["height"] <= strip["y"]  # with the map, while a finger moves


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_no_tab_needs_sideways_scrolling(
    visit: Visit, width: int, height: int, locale: str
) -> None:
    page = visit(width, height, locale=locale)
    page.get_by_role("tab", name=text(locale[:2], "explore.name")).wait_for()  # in this language
    for key in ("paint", "pixel", "blocks", "types", "what_if", "faithful"):
        part = key.replace("_", "-")
        name = text(locale[:2], TABS[key].NAME)
        page.get_by_role("tab", name=name, exact=True).click()  # on a phone it is swiped to
        page.locator(f"#{part} :is(p, td)").first.wait_for()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, part

"""The page in a real browser, against the app as the README starts it."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page import ANSWER, CHANNELS, EXAMPLES, MAPS, OPENING, changes, check, choose, says, upload

from vggviz.attention import ATTENTION
from vggviz.explainer import Explainer


def test_a_picture_of_ones_own(visit: Callable[..., Any]) -> None:
    """Upload, another attention type, another block, another class: each as the Explainer says."""
    page = visit()
    explainer = Explainer.load("everyday", "cbam")
    changes(page, MAPS, lambda: upload(page, EXAMPLES / "koala.jpg"))
    koala = explainer.explain(EXAMPLES / "koala.jpg")
    says(page, koala.prediction.top(5))
    assert f"for {koala.target.label}" in page.locator("#maps").inner_text()
    changes(page, ANSWER, lambda: upload(page, EXAMPLES / "espresso.jpg"))
    espresso = explainer.explain(EXAMPLES / "espresso.jpg")
    says(page, espresso.prediction.top(5))

    picture = "#maps figure:nth-of-type({}) .heat"
    attention, gradcam = (page.get_attribute(picture.format(n), "src") for n in (2, 3))
    changes(page, MAPS, lambda: check(page.get_by_label("Block 2", exact=True)))
    assert "No attention at Block 2." in page.locator("#maps").inner_text()
    assert "Block 4 and Block 5 have it." in page.locator("#maps").inner_text()
    changes(page, MAPS, lambda: check(page.get_by_label("Block 5", exact=True)))
    assert page.get_attribute(picture.format(2), "src") != attention
    assert page.get_attribute(picture.format(3), "src") != gradcam
    assert "Block 5" in page.get_attribute("#maps figure:nth-of-type(3) .base", "alt")
    assert "Block 5" in page.locator("#channels").inner_text()
    assert "5 × 5" in page.locator("#maps").inner_text().replace("\xa0", " ")

    attention, gradcam = (page.get_attribute(picture.format(n), "src") for n in (2, 3))
    changes(page, MAPS, lambda: choose(page, "#target", "pizza"))
    assert page.locator("#maps h2").nth(2).inner_text() == "Grad-CAM for pizza"
    assert page.get_attribute(picture.format(2), "src") == attention
    assert page.get_attribute(picture.format(3), "src") != gradcam
    says(page, espresso.prediction.top(5))

    changes(page, MAPS, lambda: choose(page, "#attention", "No attention"))
    says(
        page,
        Explainer.load("everyday", "none").explain(EXAMPLES / "espresso.jpg").prediction.top(5),
    )
    assert "No attention in this network." in page.locator("#maps").inner_text()
    assert "No attention in this network." in page.locator("#channels").inner_text()
    assert "for pizza" in page.locator("#maps").inner_text()


def test_an_example_at_one_click_and_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    listed = json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))
    explainer = Explainer.load("everyday", "cbam")
    changes(page, MAPS, lambda: page.locator("#examples button").nth(3).click())
    says(page, explainer.explain(EXAMPLES / listed[3]["file"]).prediction.top(5))
    assert page.get_attribute("#picture img", "src").endswith(listed[3]["file"])
    page.locator("#examples button").nth(5).focus()
    changes(page, MAPS, lambda: page.keyboard.press("Enter"))
    says(page, explainer.explain(EXAMPLES / listed[5]["file"]).prediction.top(5))
    page.locator("#target input").click()
    page.keyboard.type("piz")
    changes(page, MAPS, lambda: page.keyboard.press("Enter"))
    assert page.locator("#maps h2").nth(2).inner_text() == "Grad-CAM for pizza"


def test_an_untrained_network_says_so(visit: Callable[..., Any]) -> None:
    page = visit()
    changes(page, ANSWER, lambda: choose(page, "#weights", "random: untrained, full size"))
    badges = page.locator(".badge").all_inner_texts()
    assert badges == ["untrained", "nearly the same everywhere", "untrained"]  # answer, map, below
    name = "Squeeze-and-excitation"
    changes(page, MAPS, lambda: choose(page, "#attention", name))
    assert "This attention weighs channels, not places." in page.locator("#maps").inner_text()
    assert page.locator("#channels svg").count() == 1
    page.locator("#attention input").click()
    assert page.get_by_role("option").count() == 1 + len(ATTENTION)


def test_a_broken_upload_is_a_toast_and_the_last_result_stays(
    visit: Callable[..., Any], tmp_path: Path
) -> None:
    page = visit()
    changes(page, MAPS, lambda: upload(page, EXAMPLES / "koala.jpg"))
    kept = {part: page.locator(part).inner_html() for part in (ANSWER, MAPS, CHANNELS)}
    broken = tmp_path / "broken.png"
    broken.write_bytes((EXAMPLES / "koala.jpg").read_bytes()[:3000])
    upload(page, broken)
    toast = page.get_by_test_id("toast-body")
    toast.wait_for()
    assert "broken.png" in toast.inner_text()
    assert "uploads" not in toast.inner_text()  # the server's folder
    page.wait_for_function("document.querySelector('#picture img')?.src.endsWith('koala.jpg')")
    assert {part: page.locator(part).inner_html() for part in kept} == kept
    assert page.locator("#page .error:visible").count() == 0  # no 'Error' over what still holds
    changes(page, MAPS, lambda: check(page.get_by_label("Block 5")))


def test_two_people_at_once_get_what_they_chose(visit: Callable[..., Any]) -> None:
    one, other = visit(), visit()
    upload(one, EXAMPLES / "koala.jpg")
    upload(other, EXAMPLES / "orange.jpg")
    choose(other, "#attention", "No attention")
    says(one, Explainer.load("everyday", "cbam").explain(EXAMPLES / "koala.jpg").prediction.top(5))
    plain = Explainer.load("everyday", "none").explain(EXAMPLES / "orange.jpg").prediction
    says(other, plain.top(5))
    assert "No attention" not in one.locator("#maps").inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_fits_and_nothing_jumps(visit: Callable[..., Any], theme: str) -> None:
    page = visit(1440, 900, theme, more=False)
    size = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    assert page.evaluate(size) == [1440, 900]
    changes(page, MAPS, lambda: page.locator("#examples button").nth(1).click())
    changes(page, MAPS, lambda: choose(page, "#attention", "No attention"))
    assert page.evaluate(size) == [1440, 900]
    assert page.evaluate("window.shifted") <= 0.1
    for width in (390, 820, 1440, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    unnamed = "[...document.images].filter((image) => !image.hasAttribute('alt')).length"
    assert page.locator("#page").evaluate(unnamed) == 0


def test_the_opening_and_the_terms(config: dict[str, Any]) -> None:
    parts = {part["props"].get("elem_id"): part for part in config["components"]}
    ranked = Explainer.load("everyday", "cbam").explain(OPENING)
    label = html.escape(ranked.prediction.ranked[0].label)
    assert f">{label}</b>" in parts["answer"]["props"]["value"]
    assert parts["examples"]["props"]["value"].count("<button") >= 6
    states = [part for part in config["components"] if part["type"] == "state"]
    assert len(states) >= 4
    assert not any("value" in state["props"] for state in states)
    public = [d["api_name"] for d in config["dependencies"] if d["api_visibility"] == "public"]
    assert public == ["explain", "figure", "pixel", "faithfulness", "paint"]
    assert not config["show_error"]
    assert not config["run_history"]
    assert config["max_file_size"] == 24 << 20


def test_progress_is_told_to_parts_that_show_it_only(config: dict[str, Any]) -> None:
    """Gradio tells them at every later event, too, and copies all that is in each for that."""
    kinds = {part["id"]: part["type"] for part in config["components"]}
    events = config["dependencies"]
    told = [
        e["outputs"] if e["show_progress_on"] is None else e["show_progress_on"] for e in events
    ]
    assert {kinds[part] for parts in told for part in parts}.isdisjoint({"tabs", "tabitem"})
    hidden = [event for event in events if event["show_progress"] == "hidden"]
    assert len(hidden) > 20
    assert all(event["show_progress_on"] == [] for event in hidden)


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_parts_that_come_late_find_their_places(visit: Callable[..., Any], width: int) -> None:
    """Gradio's kinds of components come as files of their own, in any order."""
    page = visit(width, late=r"/assets/HTML[-.][^/]*js$", more=False)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifted") <= 0.1

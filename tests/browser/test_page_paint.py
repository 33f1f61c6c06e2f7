"""The tab 'Paint' in a real browser: mouse, fingers, keyboard, undo and links."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from page import EXAMPLES, OPENING, choose, show
from PIL import Image

from vggviz.explainer import Explainer
from vggviz.networks.paint_code import decode
from vggviz.networks.painting import Grounds, paint_grounds, painted_logits

Visit = Callable[..., Any]

GOAL = json.loads((EXAMPLES / "examples.json").read_text("utf-8"))[0]["goal"]
SETTLED = """() => {
  const board = document.querySelector("#paint .board");
  const said = document.querySelector("#paint-answer [data-number]");
  return said.dataset.painted === String(board.dataset.code !== "");
}"""


@pytest.fixture(scope="module")
def network() -> Explainer:
    return Explainer.load("everyday", "cbam")


@pytest.fixture(scope="module")
def grounds(network: Explainer) -> Grounds:
    crop = network.explain(OPENING, methods=()).image
    return paint_grounds(network.model, network.preprocess.normalise(crop)[None])


def stroke(page: Any, points: Sequence[tuple[float, float]]) -> None:
    """Draw through these points of the picture, in shares of its side."""
    box = page.locator("#paint .easel").bounding_box()
    first, *others = [
        (box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points
    ]
    page.mouse.move(*first)
    page.mouse.down()
    for point in others:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def follow(visit: Visit, query: str) -> Any:
    """Open the page by a link with this query."""
    page = visit(more=False)
    page.goto(f"{page.url.partition('?')[0]}?{query}")
    page.locator("#paint .moving").wait_for()
    return page


def code(page: Any) -> str:
    found: str = page.locator("#paint .board").get_attribute("data-code")
    return found


def says(page: Any, network: Explainer, grounds: Grounds) -> None:
    """Wait until the answer is the network's own to what is painted."""
    stage, _, letters = code(page).rpartition(".")
    logits = grounds.logits
    if letters:
        ground = grounds.stages[stage]
        logits = painted_logits(network.model, ground, decode(letters, ground.size))
    top = network.prediction(logits).ranked[0]
    page.wait_for_function(
        "([name, now]) => { const row = document.querySelector('#paint-answer li');"
        " return row.querySelector('.name').textContent === name"
        " && Math.abs(row.style.getPropertyValue('--now') - now) < 0.002; }",
        arg=[top.label, top.probability],
    )


def test_the_answer_moves_while_the_mouse_paints(
    visit: Visit, network: Explainer, grounds: Grounds
) -> None:
    page = visit(more=False)
    sent: list[Any] = []
    page.on("request", lambda one: sent.append(one.post_data_json) if "/run/" in one.url else None)
    show(page, "paint")
    says(page, network, grounds)
    assert code(page) == ""
    assert page.locator("#paint .invite").is_visible()
    stroke(page, [(0.2, 0.2), (0.6, 0.3), (0.3, 0.4)])
    says(page, network, grounds)
    cat = code(page)
    mask = decode(cat.removeprefix("block4."), (10, 10))
    assert mask[2, 2] == 1
    assert mask[6:].max() == 0
    assert page.locator("#paint .invite").evaluate("part => getComputedStyle(part).opacity") == "0"
    strokes = [one["event_data"] for one in sent if (one.get("event_data") or {}).get("code")]
    assert strokes[-1]["code"] == cat.removeprefix("block4.")
    numbers = [one["number"] for one in strokes]
    assert numbers == sorted(set(numbers))

    stroke(page, [(0.5, 0.8), (0.7, 0.9)])
    says(page, network, grounds)
    assert code(page) != cat
    page.keyboard.press("Control+z")
    says(page, network, grounds)
    assert code(page) == cat
    page.get_by_role("button", name="Undo").click()
    says(page, network, grounds)
    assert code(page) == ""
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_the_tools(visit: Visit, network: Explainer, grounds: Grounds) -> None:
    page = visit(more=False)
    show(page, "paint")
    page.get_by_role("button", name="Start from what it learned").click()
    learned = decode(code(page).removeprefix("block4."), (10, 10))
    torch.testing.assert_close(learned, grounds.stages["block4"].learned, rtol=0, atol=0.5 / 63)
    page.get_by_role("button", name="Eraser").click()
    stroke(page, [(0.5, 0.75), (0.8, 0.75)])
    erased = decode(code(page).removeprefix("block4."), (10, 10))
    assert erased[7, 5] == 0
    assert erased[0, 0] == learned[0, 0]
    says(page, network, grounds)

    veil = "() => { const c = document.querySelector('#paint canvas').getContext('2d');"
    veil += " return c.getImageData(316, 430, 1, 1).data[3]; }"
    dark = page.evaluate(veil)
    compare = page.get_by_role("button", name="Compare with what it learned")
    compare.click()
    assert compare.get_attribute("aria-pressed") == "true"
    assert page.evaluate(veil) < dark
    assert page.locator("#paint-answer .share b").first.is_hidden()
    compare.click()
    assert page.evaluate(veil) == dark

    page.get_by_role("button", name="Block 5").click()
    says(page, network, grounds)
    assert code(page) == ""
    stroke(page, [(0.1, 0.1), (0.9, 0.1)])
    says(page, network, grounds)
    assert len(code(page)) == len("block5.") + 25
    page.get_by_role("button", name="Block 4").click()  # each stage keeps its paint
    assert decode(code(page).removeprefix("block4."), (10, 10)).equal(erased)
    page.get_by_role("button", name="Clear").click()
    says(page, network, grounds)
    assert code(page) == ""


def test_the_keyboard_paints(visit: Visit, network: Explainer, grounds: Grounds) -> None:
    page = visit(more=False)
    show(page, "paint")
    page.get_by_role("button", name="Small brush").click()
    easel = page.locator("#paint .easel")
    easel.focus()
    for key in ("ArrowUp", "ArrowLeft", "Space"):
        page.keyboard.press(key)
    mask = decode(code(page).removeprefix("block4."), (10, 10))
    assert (mask[4, 4], mask.count_nonzero() <= 9) == (1, True)
    assert "Row 5, column 5: 1.00" in page.locator("#painted-place").inner_text()
    says(page, network, grounds)
    for key in ("e", "Space"):
        page.keyboard.press(key)
    assert code(page) == "" or decode(code(page)[7:], (10, 10))[4, 4] == 0
    says(page, network, grounds)


def test_a_link_brings_the_paint_back_and_the_goal_is_won(
    visit: Visit, network: Explainer, grounds: Grounds
) -> None:
    paint = f"{GOAL['stage']}.{GOAL['code']}"
    page = follow(visit, f"attention=cbam&tab=paint&paint={paint}")
    page.locator('#paint-answer [data-won="true"]').wait_for()
    assert re.match(rf"It says {GOAL['label']} now: \d+%", page.locator("h2.goal b").inner_text())
    assert code(page) == paint
    says(page, network, grounds)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as picture").click()
    assert saved.value.suggested_filename == f"vggviz-{OPENING.stem}-painted.png"
    picture = np.asarray(Image.open(saved.value.path()).convert("RGB")).astype(int)
    assert picture.shape == (720, 1280, 3)
    photo = Image.open(OPENING).convert("RGB").resize((10, 10), Image.Resampling.BOX)
    cells = picture[40:680, 40:680].reshape(10, 64, 10, 64, 3).mean((1, 3))
    light = decode(GOAL["code"], (10, 10)).numpy()
    dimmed = np.asarray(photo) * (0.2 + 0.8 * light[..., None]) + 9 * 0.8 * (1 - light[..., None])
    assert np.abs(cells - dimmed).mean() < 15
    assert (picture[165:195, 720:1000].min(-1) < 100).any()  # the first class's name

    stroke(page, [(0.5, 0.5), (0.6, 0.5)])
    page.wait_for_function("old => !location.search.includes(old)", arg=GOAL["code"])
    page.wait_for_function(SETTLED)
    assert parse_qs(urlsplit(page.url).query)["paint"] == [code(page)]
    painted = code(page)
    page.reload()
    page.wait_for_function(
        "paint => document.querySelector('#paint .board')?.dataset.code === paint", arg=painted
    )
    says(page, network, grounds)


@pytest.mark.parametrize("paint", ["block4.AAA", "block9.____", "x", "block4." + "<" * 100])
def test_a_link_with_no_paint_opens_the_tab_unpainted(
    visit: Visit, network: Explainer, grounds: Grounds, paint: str
) -> None:
    page = follow(visit, f"tab=paint&paint={paint}")
    page.locator("#paint .moving").wait_for()
    says(page, network, grounds)
    assert code(page) == ""


def test_channels_are_bars_that_are_dragged(visit: Visit) -> None:
    page = visit(more=False)
    choose(page, "#attention", "Squeeze-and-excitation")
    show(page, "paint")
    page.locator("#paint .board.bars").wait_for()
    tools = page.locator("#paint-tools")
    assert "Channels 1 to 32 of 256" in tools.inner_text()
    before = page.locator("#paint-answer").inner_text()
    stroke(page, [(0.01, 0.99), (0.99, 0.99)])
    page.wait_for_function(SETTLED)
    assert page.locator("#paint-answer").inner_text() != before
    facts = json.loads(page.locator("#paint .board").get_attribute("data-stages"))["block4"]
    mask = decode(code(page).removeprefix("block4."), (1, 256))[0]
    learned = decode(facts["learned"], (1, 256))[0]
    assert mask[facts["order"][:32]].max() < 0.05
    assert mask[facts["order"][32:]].equal(learned[facts["order"][32:]])
    tools.get_by_role("button", name="The channels after").click()
    assert "Channels 33 to 64 of 256" in tools.inner_text()


def test_other_types_offer_one_that_can_be_painted(visit: Visit) -> None:
    page = visit(more=False)
    choose(page, "#attention", "Self-attention")
    show(page, "paint")
    page.locator("#paint .nothing").wait_for()
    page.get_by_role("button", name="Choose CBAM").click()
    page.locator("#paint .moving").wait_for()


def test_on_a_phone_a_finger_paints_beside_the_answer(
    visit: Visit, network: Explainer, grounds: Grounds
) -> None:
    page = visit(390, 844, more=False)
    client = page.context.new_cdp_session(page)
    client.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    show(page, "paint")
    page.evaluate("scrollTo(0, 0)")
    easel, bars = page.locator("#paint .easel"), page.locator("#paint-answer .moving li")
    box = easel.bounding_box()
    assert box["width"] >= 360
    tools = page.locator("#paint-tools").bounding_box()
    third = bars.nth(2).bounding_box()
    assert third["y"] + third["height"] <= tools["y"]

    def touch(*points: tuple[float, float]) -> None:
        kinds = ["touchStart", *["touchMove"] * (len(points) - 1), "touchEnd"]
        for kind, (x, y) in zip(kinds, (*points, points[-1]), strict=True):
            place = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
            event = {"type": kind, "touchPoints": [] if kind == "touchEnd" else [place]}
            client.send("Input.dispatchTouchEvent", event)

    touch((0.55, 0.25))
    says(page, network, grounds)
    assert decode(code(page).removeprefix("block4."), (10, 10))[2, 5] == 1
    touch((0.55, 0.3), (0.55, 0.5), (0.55, 0.8))
    says(page, network, grounds)
    assert decode(code(page).removeprefix("block4."), (10, 10))[3:8, 5].min() > 0.5
    assert page.evaluate("scrollY") == 0
    for button in page.locator("#paint-tools button").all():
        size = button.bounding_box()
        assert size is None or min(size["width"], size["height"]) >= 44

"""The tab 'Ask a pixel' in a real browser: the map follows the pointer without the server."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from page import OPENING, check, show
from PIL import Image

from vggviz.app.tabs.panels import text_percent
from vggviz.explainer import Explainer
from vggviz.metrics.sinks import attention_sinks
from vggviz.plotting.maps import colours, resize
from vggviz.plotting.scale import colour_scale
from vggviz.types import AttentionRecord

Visit = Callable[..., Any]

PNG = "(canvas) => canvas.toDataURL()"


@pytest.fixture(scope="module")
def record() -> AttentionRecord:
    """Self-attention of the picture that the page opens with, at the stage that it opens at."""
    found = Explainer.load("everyday", "self_attention").explain(OPENING)
    return found.attention["block4"][0]


def at(page: Any, row: int, column: int, grid: tuple[int, int]) -> tuple[float, float]:
    """The middle of a place, in pixels of the window."""
    box = page.locator("#pixel .canvas").bounding_box()
    return (
        box["x"] + box["width"] * (column + 0.5) / grid[1],
        box["y"] + box["height"] * (row + 0.5) / grid[0],
    )


def drawn(page: Any, layer: int = 0) -> Any:
    """The pixels of a canvas, uint8 (H, W, 4)."""
    code = page.locator("#pixel canvas").nth(layer).evaluate(PNG).partition(",")[2]
    return np.asarray(Image.open(BytesIO(b64decode(code))).convert("RGBA"))


def looks_like(page: Any, record: AttentionRecord, row: int, column: int) -> None:
    """What is drawn and said of this place is what the network's weights are."""
    weights = record.query(row, column)  # (h, w)
    to_row, to_column = divmod(int(weights.argmax()), weights.shape[1])
    sentence = (
        f"The place in row {row + 1}, column {column + 1} looks most at row {to_row + 1}, "
        f"column {to_column + 1} ({text_percent(float(weights.max()))})"
    )
    page.locator("#pixel .reading", has_text=sentence).wait_for()
    assert page.locator("#asked").inner_text() == f"row {row + 1}, column {column + 1}"
    for layer, head in enumerate((None, *range(len(record.weights)))):
        raw = record.query(row, column, head).numpy()
        scale = colour_scale(raw)
        found = drawn(page, layer)
        assert found[..., 3].min() == 255
        expected = 255 * colours(resize(scale.unit(raw), found.shape[:2]))
        difference = np.abs(found[..., :3] - expected)
        assert difference.max() <= 8  # a step of the colour map, where a byte is rounded
        assert difference.mean() < 0.75
        bar = page.locator("#pixel .scale").nth(layer).locator("b").all_inner_texts()
        assert bar == ["0", scale.range_text[1]]


def test_the_map_follows_the_pointer_without_a_request(
    visit: Visit, record: AttentionRecord
) -> None:
    page = visit()
    show(page, "pixel")
    page.locator("#pixel .instead-of", has_text="you chose CBAM").wait_for()
    page.locator("#pixel .reading[data-opening][data-row]").wait_for()
    page.wait_for_timeout(1500)  # until what the page asks for as it opens has come
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))

    for row, column in ((1, 8), (2, 2), (6, 0)):
        page.mouse.move(*at(page, row, column, record.grid))
        looks_like(page, record, row, column)
    page.mouse.click(*at(page, 4, 5, record.grid))
    page.mouse.move(*at(page, 0, 0, record.grid))
    looks_like(page, record, 0, 0)
    page.mouse.move(2, 2)
    looks_like(page, record, 4, 5)  # the one that was clicked

    canvas = page.locator("#pixel .canvas")
    canvas.press("ArrowDown")
    looks_like(page, record, 5, 5)
    canvas.press("ArrowLeft")
    looks_like(page, record, 5, 4)
    for _ in range(9):
        canvas.press("ArrowUp")
    looks_like(page, record, 0, 4)
    assert requests == []

    check(page.locator("#language input").last)  # Chinese
    page.locator("#asked", has_text="行").wait_for()
    page.locator("#pixel .reading[data-row='1']:not([data-opening])").wait_for()  # stays pinned


def test_places_that_all_look_at_can_be_hidden(visit: Visit, record: AttentionRecord) -> None:
    page = visit(query="&attention=self_attention")
    show(page, "pixel")
    page.locator("#pixel .instead-of").wait_for(state="detached")  # once the link has been read
    page.locator("#pixel .reading[data-row]").wait_for()
    sinks = attention_sinks(record.weights.mean(0))
    assert page.locator("#pixel .cell.sink").count() == len(sinks) > 0
    whole = len(record.weights[0, 0])
    assert f"of {whole} places" in page.locator("#pixel .reading").inner_text()
    page.get_by_role("switch").press("Space")
    page.locator("#pixel .reading", has_text=f"of {whole - len(sinks)} places").wait_for()
    found = drawn(page)
    row, column = divmod(sinks[0], record.grid[1])
    y, x = (int((n + 0.5) * len(found) / 10) for n in (row, column))
    assert found[y, x, :3].max() < 40  # nearly the darkest colour, but for the cells around
    page.get_by_role("switch").press("Space")
    page.locator("#pixel .reading", has_text=f"of {whole} places").wait_for()


def test_another_stage_language_and_picture_are_drawn_anew(visit: Visit) -> None:
    page = visit(query="&attention=self_attention")
    show(page, "pixel")
    page.locator("#pixel-stage label", has_text="Block 5").click()
    page.locator("#pixel .canvas[aria-label*='5 × 5']").wait_for()
    page.locator("#pixel .reading", has_text="of 25 places").wait_for()
    canvas = page.locator("#pixel canvas").first
    size = canvas.evaluate("(canvas) => [canvas.width, canvas.height]")
    before = canvas.evaluate(PNG)
    page.locator("#examples button").nth(3).click()
    page.wait_for_function(
        "(before) => { const one = document.querySelector('#pixel canvas');"
        "return String([one.width, one.height]) === before[0] && one.toDataURL() !== before[1]; }",
        arg=[",".join(map(str, size)), before],
    )
    page.locator("#language label", has_text="中文").click()
    page.locator("#pixel .reading", has_text="个位置中的").wait_for()
    page.locator("#pixel-looks .each", has_text="个头的平均").wait_for()


@pytest.mark.parametrize("term", ["query", "why"])
def test_terms_explain_themselves(visit: Visit, term: str) -> None:
    page = visit(query="&attention=self_attention")
    show(page, "pixel")
    page.locator("#pixel .instead-of").wait_for(state="detached")  # once the link has been read
    page.locator("#pixel .reading[data-row]").wait_for()
    meaning = page.locator(f"#pixel-{term}")
    assert not meaning.is_visible()
    page.locator(f"[popovertarget=pixel-{term}]").click()
    assert meaning.is_visible()
    assert "arXiv" in meaning.inner_text()
    page.keyboard.press("Escape")
    assert not meaning.is_visible()


def test_a_finger_moves_the_place(visit: Visit, browser: Any, record: AttentionRecord) -> None:
    page = visit(390, 844, query="&attention=self_attention", more=False)
    show(page, "pixel")
    page.locator("#pixel .instead-of").wait_for(state="detached")  # once the link has been read
    page.locator("#pixel .reading[data-row]").wait_for()
    page.locator("#pixel .canvas").evaluate("(part) => part.scrollIntoView({block: 'center'})")
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *place: float) -> None:
        points = [{"x": place[0], "y": place[1]}] if place else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", *at(page, 2, 2, record.grid))
    for step in range(3, 8):
        send("touchMove", *at(page, step, step, record.grid))
    looks_like(page, record, 7, 7)
    send("touchEnd")
    page.wait_for_timeout(200)
    looks_like(page, record, 7, 7)


def test_a_lesson_is_followed_by_pointing(visit: Visit, record: AttentionRecord) -> None:
    page = visit(query="&lesson=self.asks", more=False)
    step = page.locator("#lesson article:not([hidden])")
    step.locator("[data-option]").first.wait_for()
    page.locator("#pixel .reading[data-opening][data-row]").wait_for()
    page.locator("#pixel .instead-of").wait_for(state="detached")  # once the step has set the page
    step.locator("[data-option]").first.click()
    assert not step.locator(".reveal").is_visible()
    page.locator("#pixel .canvas").evaluate("(part) => part.scrollIntoView({block: 'center'})")
    page.mouse.move(*at(page, 6, 4, record.grid))
    step.locator(".reveal").wait_for()
    page.locator("#lesson .next:visible").click()
    step = page.locator('#lesson article[data-step="corner"]')
    step.locator("[data-option]").first.click()
    step.locator(".show").click()
    step.locator(".reveal").wait_for()
    page.locator("#asked", has_text="row 1,").wait_for()

"""The page at first sight, in a real browser: sizes, stage mode, ways in for a picture, addresses,
the keyboard and a phone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page import ANSWER, EXAMPLES, MAPS, OPENING, changes, check, choose, says, upload

from vggviz.app.toolbar import PICTURE_BYTES
from vggviz.explainer import Explainer
from vggviz.locales import text

Visit = Callable[..., Any]
HEAT = "#maps figure:nth-of-type({}) .heat"


def verdict(page: Any, label: str) -> None:
    page.locator(".verdict b", has_text=label).wait_for()


@pytest.mark.parametrize(
    ("width", "height", "least"), [(1440, 900, 360), (1280, 720, 300), (1024, 768, 240)]
)
def test_maps_are_large_and_above_the_fold(
    visit: Visit, width: int, height: int, least: int
) -> None:
    page = visit(width, height, more=False)
    boxes = [one.bounding_box() for one in page.locator("#maps .canvas").all()]
    assert len(boxes) == 3
    assert all(box["width"] >= least for box in boxes)
    assert all(box["y"] + box["height"] <= height for box in boxes)
    assert page.locator("#view").is_hidden()
    page.locator("#more .more").click()
    assert page.locator("#view").is_visible()


def test_a_class_moves_grad_cam_and_leaves_attention(visit: Visit) -> None:
    page = visit(more=False)
    chips = page.locator(".chip")
    assert chips.locator("b").all_inner_texts() == ["golden retriever", "tabby"]
    attention, gradcam = (page.get_attribute(HEAT.format(n), "src") for n in (2, 3))
    changes(page, MAPS, chips.nth(1).click)
    page.get_by_role("heading", name="Grad-CAM for tabby").wait_for()
    assert page.get_attribute(HEAT.format(2), "src") == attention
    assert page.get_attribute(HEAT.format(3), "src") != gradcam
    assert "Attention stays" in page.locator(".chips .why").inner_text()
    changes(page, MAPS, page.locator("#examples button").nth(1).click)  # another picture
    found = Explainer.load("everyday", "cbam").explain(EXAMPLES / "golden-retriever.jpg")
    assert chips.locator("b").all_inner_texts() == [one.label for one in found.prediction.top(2)]
    page.get_by_role("heading", name=f"Grad-CAM for {found.target.label}").wait_for()


def test_a_map_is_enlarged_and_the_networks_input_is_held(visit: Visit) -> None:
    page = visit(more=False)
    button = page.get_by_role("button", name="Enlarge: Grad-CAM")
    button.click()
    tile = page.locator("#enlarged .canvas")
    assert tile.bounding_box()["height"] > 700
    page.keyboard.press("ArrowRight")  # around, to the first
    page.get_by_role("dialog", name="Original").wait_for()
    page.keyboard.press("ArrowRight")  # the focus is still inside
    page.get_by_role("dialog", name="Attention").wait_for()
    page.keyboard.press("ArrowLeft")
    page.get_by_role("dialog", name="Original").wait_for()
    page.keyboard.press("Escape")
    tile.wait_for(state="detached")
    box = button.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.locator("#maps .hold").wait_for()
    base = page.locator("#maps figure:nth-of-type(3) .base")
    assert base.evaluate("base => getComputedStyle(base).visibility") == "hidden"
    page.mouse.up()
    assert page.locator("#maps .hold, dialog").count() == 0


def test_arrows_that_move_elsewhere_do_not_step_through_the_lesson(visit: Visit) -> None:
    page = visit(query="&lesson=gradcam.two", more=False)
    step = page.locator("#lesson article:not([hidden])")
    step.wait_for()
    assert step.locator(".reveal").is_hidden()
    for group in ("#examples [role=group] button", "#answer .chip", ".source button"):
        page.locator(group).first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator(group).nth(1).evaluate("one => one === document.activeElement")
    page.get_by_role("button", name="Enlarge: Grad-CAM").click()
    page.keyboard.press("ArrowRight")
    page.get_by_role("dialog", name="Original").wait_for()
    page.keyboard.press("Escape")
    page.locator("#enlarged").wait_for(state="detached")
    assert step.locator(".reveal").is_hidden()
    page.locator("#lesson h3:visible").click()
    page.keyboard.press("ArrowRight")  # which there steps
    step.locator(".reveal").wait_for()


def test_stage_mode_and_its_keys(visit: Visit) -> None:
    page = visit(1920, 1080, more=False)
    page.evaluate("document.addEventListener('vggviz:step', e => { window.step = e.detail.by; })")
    page.get_by_role("button", name="Stage").click()
    page.locator("html.stage-mode").wait_for(state="attached")
    boxes = [one.bounding_box() for one in page.locator("#maps .canvas").all()]
    assert all(box["width"] >= 590 for box in boxes)
    sizes = "all => all.map(one => parseFloat(getComputedStyle(one).fontSize))"
    assert min(page.locator("#maps :is(h2, h2 small, .scale b)").evaluate_all(sizes)) >= 28
    for controls in ("#ask", "#top #take", "#network", ".chips", "footer"):
        assert page.locator(controls).first.is_hidden()
    changes(page, MAPS, lambda: page.keyboard.press("5"))
    assert page.locator("#stage input:checked").get_attribute("value") == "block5"
    changes(page, MAPS, lambda: page.keyboard.press("c"))
    page.locator("#maps h2", has_text="for tabby").wait_for()
    attention = page.locator("#attention input").input_value()
    changes(page, MAPS, lambda: page.keyboard.press("a"))
    assert page.locator("#attention input").input_value() != attention
    heat = page.locator(HEAT.format(3))
    page.keyboard.press(" ")
    assert heat.evaluate("heat => getComputedStyle(heat).visibility") == "hidden"
    page.keyboard.press(" ")
    assert heat.evaluate("heat => getComputedStyle(heat).visibility") == "visible"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.step") == 1
    for width in (1920, 1024, 390):
        page.set_viewport_size({"width": width, "height": 768})
        name = page.locator("#answer .verdict p > b").first
        assert name.evaluate("b => b.clientWidth > 0 && b.scrollWidth <= b.clientWidth")
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.keyboard.press("f")
    page.locator("html:not(.stage-mode)").wait_for(state="attached")
    assert page.locator("#ask").is_visible()


DROP = """
([name, coded, type]) => {
  const bytes = Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type: "image/jpeg"}));
  const target = document.querySelector("footer");
  const event = type === "paste"
    ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})
    : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
  return target.dispatchEvent(event);  // false: the page took it, the browser won't open it
}
"""


def test_a_picture_comes_in_anywhere(visit: Visit, tmp_path: Path) -> None:
    page = visit(more=False)
    for name, how in (("koala", "drop"), ("espresso", "paste")):
        coded = base64.b64encode((EXAMPLES / f"{name}.jpg").read_bytes()).decode()
        assert page.evaluate(DROP, [f"{name}.jpg", coded, how]) is False
        verdict(page, name)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Open a picture").click()
    accepted = page.get_attribute("#picture input[type=file]", "accept")
    assert ".avif" in accepted.split(",")
    changes(page, ANSWER, lambda: chooser.value.set_files(EXAMPLES / "koala.jpg"))

    kept = page.locator(MAPS).inner_html()
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(PICTURE_BYTES + 1)
    upload(page, large)
    page.get_by_role("alert").filter(has_text="large.png is too large").wait_for()
    assert page.locator(MAPS).inner_html() == kept
    changes(page, MAPS, lambda: choose(page, "#attention", "No attention"))  # of the same picture
    verdict(page, "koala")


def test_the_view_lives_in_the_address(visit: Visit) -> None:
    page = visit(more=False)
    page.wait_for_function("window.vggviz.linked")
    page.wait_for_timeout(1000)
    assert "example" not in page.url  # nothing was chosen
    changes(page, MAPS, page.locator(".chip").nth(1).click)
    page.wait_for_url("**target=tabby**")
    changes(page, MAPS, lambda: check(page.get_by_label("Block 5", exact=True)))
    page.wait_for_url("**stage=block5**")
    page.go_back()
    page.locator("#stage label.selected", has_text="Block 4").wait_for()
    page.get_by_role("heading", name="Grad-CAM for tabby").wait_for()
    page.wait_for_timeout(1000)  # until that is no step of its own
    page.go_forward()
    page.locator("#stage label.selected", has_text="Block 5").wait_for()
    page.reload()
    page.locator("#stage label.selected", has_text="Block 5").wait_for()
    page.get_by_role("heading", name="Grad-CAM for tabby").wait_for()


def test_ones_own_picture_survives_a_reload(visit: Visit) -> None:
    page = visit(more=False)
    upload(page, EXAMPLES / "koala.jpg")
    verdict(page, "koala")
    changes(page, MAPS, page.locator(".chip").nth(1).click)
    page.wait_for_url(lambda url: "own=" in url and "target=" in url)  # once the address has both
    target = page.locator("#maps h2").nth(2).inner_text()
    page.reload()
    verdict(page, "koala")
    page.locator("#maps h2", has_text=target.removeprefix("Grad-CAM ")).wait_for()
    other = visit(query="&" + page.url.partition("?")[2], more=False)  # another tab has no picture
    other.get_by_role("alert").filter(has_text="no longer in this browser tab").wait_for()
    says(other, Explainer.load("everyday", "cbam").explain(OPENING).prediction.top(5))


def test_a_save_that_failed_is_not_waited_for(visit: Visit) -> None:
    """Neither a file of the server's nor one of the browser's."""
    page = visit(query="&lang=zh")
    page.locator("#answer h2", has_text="网络的回答").wait_for()
    changes(page, MAPS, lambda: upload(page, EXAMPLES / "koala.jpg"))
    page.evaluate("() => { window.vggviz.save = () => Promise.reject(new Error('memory')); }")
    page.locator("#take summary").click()
    empty = "document.querySelector('#take output').textContent === ''"
    for format, told in (("link", "take.no_link"), ("png", "take.failed")):
        page.locator(f"#take button[data-format={format}]").click()
        page.locator("[data-testid=toast-body], #said").filter(has_text=text("zh", told)).wait_for()
        page.wait_for_function(empty)


def test_few_stops_lead_to_the_first_map(visit: Visit) -> None:
    page = visit(more=False)
    page.evaluate("document.activeElement.blur()")
    at_map = "document.activeElement.matches('.enlargeable button')"
    stops = 0
    while not page.evaluate(at_map):
        page.keyboard.press("Tab")
        stops += 1
        assert stops <= 12
    page.reload()
    page.locator("#maps img").nth(1).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate(at_map)
    page.locator("#stage input:checked").focus()
    changes(page, MAPS, lambda: page.keyboard.press("ArrowRight"))
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.closest('#stage')")


def test_a_phone_keeps_the_maps_in_view(visit: Visit) -> None:
    page = visit(390, 844, more=False)
    canvas = page.locator("#maps figure:nth-of-type(3) .canvas")
    assert canvas.bounding_box()["y"] < 300
    page.locator("#more .more").click()
    sheet = page.locator("#attention").bounding_box()
    assert sheet["y"] > canvas.bounding_box()["y"] + canvas.bounding_box()["height"]
    changes(page, MAPS, lambda: choose(page, "#attention", "No attention"))
    page.locator("#maps").click(position={"x": 5, "y": 5})
    page.locator("html:not(.sheet)").wait_for(state="attached")
    page.locator("#colours").scroll_into_view_if_needed()
    page.mouse.wheel(0, 3000)
    page.wait_for_function("scrollY > 300")
    assert 0 <= canvas.bounding_box()["y"] < 120
    low = """() => [...document.querySelectorAll("button, summary, .switch label, #stage label")]
      .filter((one) => one.getClientRects().length && one.checkVisibility()
        && !one.closest("#picture, .toast-wrap, #top, .tab-container[aria-hidden]"))
      .map((one) => [one.getBoundingClientRect(), one.outerHTML.slice(0, 80)])
      .filter(([box]) => box.height > 1 && box.height < 43.5).map(([box, html]) => html)"""
    assert page.evaluate(low) == []

"""A picture from the clipboard and one from a camera, in a real browser that has both."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CHROMIUM, WAIT
from page import ANSWER, EXAMPLES, MAPS, changes, choose, says

from vggviz.explainer import Explainer

FLAGS = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
COPY = """
async (coded) => {
  const picture = new Image();
  picture.src = "data:image/jpeg;base64," + coded;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").drawImage(picture, 0, 0);
  const png = await canvas.convertToBlob({type: "image/png"});
  await navigator.clipboard.write([new ClipboardItem({"image/png": png})]);
}
"""


@pytest.fixture(scope="module")
def page(app: str) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
    if not Path(CHROMIUM).is_file():
        pytest.skip("no chromium: install Debian's package of that name")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        given = ["clipboard-read", "clipboard-write", "camera"]
        context = browser.new_context(viewport={"width": 1440, "height": 900}, permissions=given)
        context.set_default_timeout(WAIT)
        page, troubles = context.new_page(), []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(app)
        page.locator("#maps img").nth(1).wait_for()
        page.locator("#picture input[type=file]").wait_for(state="attached")
        page.locator("#more .more").click()
        yield page
        assert page.get_by_test_id("toast-body").count() == 0
        browser.close()
    assert not troubles


def names(page: Any) -> list[str]:
    found: list[str] = page.locator("#answer .name").all_inner_texts()
    return found


def test_a_picture_from_the_clipboard(page: Any) -> None:
    koala = EXAMPLES / "koala.jpg"
    page.evaluate(COPY, base64.b64encode(koala.read_bytes()).decode())
    changes(page, ANSWER, lambda: page.keyboard.press("Control+V"))
    says(page, Explainer.load("everyday", "cbam").explain(koala).prediction.top(5))


def test_a_picture_from_the_camera(page: Any) -> None:
    """The camera opens over the page, whose answer stays until there is a picture; and another
    network answers about the one before, too."""
    before, answer = names(page), page.locator(ANSWER).inner_html()
    page.get_by_role("button", name="Take a picture with the camera").click()
    page.locator("#picture").get_by_text("Click to Access Webcam").click()
    page.locator("#picture video").wait_for()
    page.wait_for_function("document.querySelector('#picture video').readyState >= 2")
    assert page.locator(ANSWER).inner_html() == answer
    page.keyboard.press("Escape")
    page.locator("#picture video").wait_for(state="detached")  # the camera is off
    changes(page, MAPS, lambda: choose(page, "#attention", "No attention"))
    changes(page, MAPS, lambda: choose(page, "#attention", "CBAM"))
    assert names(page) == before
    page.get_by_role("button", name="Take a picture with the camera").click()
    page.locator("#picture").get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#picture video')?.readyState >= 2")
    capture = page.locator("#picture").get_by_role("button", name="capture photo", exact=True)
    changes(page, ANSWER, capture.click)
    page.locator("html:not(.camera)").wait_for(state="attached")
    assert names(page) != before

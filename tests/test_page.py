"""The page in a real browser, against the app as the README starts it."""

from __future__ import annotations

import html
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from vggviz import zoo
from vggviz.attention import ATTENTION
from vggviz.explain import Explainer
from vggviz.images import Preprocess
from vggviz.types import Ranked
from vggviz.vgg import VGG

ROOT = Path(__file__).parents[1]
EXAMPLES = zoo.assets() / "examples"
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
WAIT = 120_000  # milliseconds: a loaded machine with two cores loads full-size networks, too


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `python app.py`, started in the repository on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("app")
    setting = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "uploads")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={**os.environ, **setting},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            if process.poll() is not None or "Running on" in (folder / "log").read_text():
                break
            time.sleep(0.1)
        assert process.poll() is None, (folder / "log").read_text()
        yield address
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def config(app: str) -> dict[str, Any]:
    """What the server tells a browser about the page."""
    with urllib.request.urlopen(f"{app}/config") as response:
        return json.load(response)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
    if not Path(CHROMIUM).is_file():
        pytest.skip("no chromium: install Debian's package of that name")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(app: str, browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page in a browser of one's own; nothing may fail there, or leave the machine."""
    troubles: list[str] = []
    contexts: list[Any] = []

    def watch(request: Any) -> None:
        if urlsplit(request.url).scheme in ("http", "https", "ws", "wss") and not (
            request.url.startswith(f"{app}/")
        ):
            troubles.append(request.url)

    def open_page(width: int = 1440, height: int = 900, theme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        context.set_default_timeout(WAIT)
        context.add_init_script(_SHIFTS)
        page = context.new_page()
        page.on("request", watch)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{app}/?__theme={theme}")
        page.locator("#maps img").nth(1).wait_for()
        page.locator("#picture input[type=file]").wait_for(state="attached")
        page.locator("#examples button").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


# Layout shifts that no one caused by an input just before, summed up as browsers report them.
_SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""


def upload(page: Any, file: Path) -> None:
    page.set_input_files("#picture input[type=file]", file)


def choose(page: Any, dropdown: str, option: str) -> None:
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def changes(page: Any, part: str, act: Callable[[], object]) -> None:
    """Do something, and wait until it shows in that part of the page."""
    before = page.locator(part).inner_html()
    act()
    page.wait_for_function(
        "([part, before]) => document.querySelector(part).innerHTML !== before",
        arg=[part, before],
    )


ANSWER, MAPS, CHANNELS = (f"#{part} .html-container" for part in ("answer", "maps", "channels"))


def says(page: Any, top: tuple[Ranked, ...]) -> None:
    """Wait until the page shows these five classes, in this order."""
    page.wait_for_function(
        "(wanted) => JSON.stringify([...document.querySelectorAll('#answer .name')]"
        ".map((name) => name.textContent)) === JSON.stringify(wanted)",
        arg=[ranked.label for ranked in top],
    )


def test_a_picture_of_ones_own(visit: Callable[..., Any]) -> None:
    """Upload, another attention type, another block, another class: each as the Explainer says."""
    page = visit()
    explainer = Explainer.load("tiny50", "cbam")
    changes(page, MAPS, lambda: upload(page, EXAMPLES / "koala.jpg"))
    koala = explainer.explain(EXAMPLES / "koala.jpg")
    says(page, koala.prediction.top(5))
    assert f"for {koala.target.label}" in page.locator("#maps").inner_text()
    changes(page, ANSWER, lambda: upload(page, EXAMPLES / "espresso.jpg"))
    espresso = explainer.explain(EXAMPLES / "espresso.jpg")
    says(page, espresso.prediction.top(5))

    picture = "#maps figure:nth-of-type({}) img"
    attention, gradcam = (page.get_attribute(picture.format(n), "src") for n in (1, 2))
    changes(page, MAPS, lambda: page.get_by_label("Block 2", exact=True).check(force=True))
    assert "No attention at block 2." in page.locator("#maps").inner_text()
    assert "Blocks 4 and 5 have it." in page.locator("#maps").inner_text()
    changes(page, MAPS, lambda: page.get_by_label("Block 5", exact=True).check(force=True))
    assert page.get_attribute(picture.format(1), "src") != attention
    assert page.get_attribute(picture.format(2), "src") != gradcam
    assert "block 5" in page.get_attribute(picture.format(2), "alt")
    assert "block 5" in page.locator("#channels").inner_text()
    assert "5 × 5" in page.locator("#maps").inner_text().replace("\xa0", " ")

    attention, gradcam = (page.get_attribute(picture.format(n), "src") for n in (1, 2))
    changes(page, MAPS, lambda: choose(page, "#target", "pizza"))
    assert page.locator("#maps h2").nth(1).inner_text() == "Grad-CAM for pizza"
    assert page.get_attribute(picture.format(1), "src") == attention
    assert page.get_attribute(picture.format(2), "src") != gradcam
    says(page, espresso.prediction.top(5))

    changes(page, MAPS, lambda: choose(page, "#attention", "No attention"))
    says(
        page, Explainer.load("tiny50", "none").explain(EXAMPLES / "espresso.jpg").prediction.top(5)
    )
    assert "No attention in this network." in page.locator("#maps").inner_text()
    assert "No attention in this network." in page.locator("#channels").inner_text()
    assert "for pizza" in page.locator("#maps").inner_text()


def test_an_example_at_one_click_and_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    listed = json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))
    explainer = Explainer.load("tiny50", "cbam")
    changes(page, MAPS, lambda: page.locator("#examples button").nth(3).click())
    says(page, explainer.explain(EXAMPLES / listed[3]["file"]).prediction.top(5))
    assert page.get_attribute("#picture img", "src").endswith(listed[3]["file"])
    page.locator("#examples button").nth(5).focus()
    changes(page, MAPS, lambda: page.keyboard.press("Enter"))
    says(page, explainer.explain(EXAMPLES / listed[5]["file"]).prediction.top(5))
    page.locator("#target input").click()
    page.keyboard.type("piz")
    changes(page, MAPS, lambda: page.keyboard.press("Enter"))
    assert page.locator("#maps h2").nth(1).inner_text() == "Grad-CAM for pizza"


def test_an_untrained_network_says_so(visit: Callable[..., Any]) -> None:
    page = visit()
    changes(page, ANSWER, lambda: choose(page, "#weights", "random: untrained, full size"))
    assert page.locator(".badge").all_inner_texts() == ["untrained", "untrained"]
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
    changes(page, MAPS, lambda: page.get_by_label("Block 5").check(force=True))


OWN = "Open your own weights (.safetensors)"
LABELS = ("<img src=x onerror=alert(1)>", "cup & saucer", "ladder")


@pytest.fixture
def own(small_vgg: Callable[..., VGG], tmp_path: Path) -> Path:
    """A small network of three classes, its attention at one block, in a file."""
    model = small_vgg(attention="se", sites=("block5",), batch_norm=True, num_classes=3)
    file = tmp_path / "mine.safetensors"
    zoo.save(model, zoo.Card("", model.config, Preprocess(64, 64), LABELS), file)
    return file


def open_weights(page: Any, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=OWN).click()
    chooser.value.set_files(file)


def options(page: Any, dropdown: str) -> list[str]:
    page.locator(f"{dropdown} input").click()
    page.locator(f"{dropdown} [role=option]").first.wait_for()
    listed = page.locator(f"{dropdown} [role=option]").all_inner_texts()
    page.locator(f"{dropdown} input").blur()
    page.get_by_role("option").first.wait_for(state="hidden")
    return [text.replace("✓", "").strip() for text in listed]


def test_ones_own_weights(visit: Callable[..., Any], own: Path) -> None:
    """They open, are chosen, and explain; labels are text; no one else has them."""
    page, other = visit(), visit()
    explained = Explainer.load(own).explain(EXAMPLES / "golden-retriever.jpg")
    changes(page, ANSWER, lambda: open_weights(page, own))
    says(page, explained.prediction.top(5))
    assert page.locator("#weights input").input_value() == "mine: 3 classes"
    assert page.locator("#attention input").input_value() == "Squeeze-and-excitation"
    assert page.locator("#site input:checked").input_value() == "block5"
    assert "This attention weighs channels" in page.locator("#maps").inner_text()
    assert "γ = 0.60" in page.locator("#maps").inner_text()
    assert set(options(page, "#target")) == {"What the network says", *LABELS}
    assert options(page, "#attention") == ["Squeeze-and-excitation"]
    gradcam = page.locator("#maps h2").nth(1)
    assert explained.target.label == LABELS[0]
    assert gradcam.inner_text() == f"Grad-CAM for {LABELS[0]}"
    changes(page, MAPS, lambda: choose(page, "#target", LABELS[1]))
    assert gradcam.inner_text() == f"Grad-CAM for {LABELS[1]}"
    assert page.locator("img[src=x]").count() == 0

    assert options(page, "#weights")[-1] == "mine: 3 classes"
    assert not any("mine" in name for name in options(other, "#weights"))
    changes(page, ANSWER, lambda: choose(page, "#weights", "tiny50: trained, 50 classes"))
    assert len(options(page, "#attention")) == len(zoo.bundled())
    changes(page, ANSWER, lambda: choose(page, "#weights", "mine: 3 classes"))
    says(page, explained.prediction.top(5))


def test_weights_that_cannot_be_used_are_a_toast(
    visit: Callable[..., Any], own: Path, tmp_path: Path
) -> None:
    page = visit()
    kept = {part: page.locator(part).inner_html() for part in (ANSWER, MAPS, CHANNELS)}
    cut, large, model = (
        tmp_path / name for name in ("cut <b>.safetensors", "large.safetensors", "model.pth")
    )
    cut.write_bytes(own.read_bytes()[:-100])
    with large.open("wb") as opened:
        opened.truncate((24 << 20) + 1)
    model.write_bytes(b"no weights")
    toast = page.get_by_test_id("toast-body")
    for file, said in (
        (cut, "is not a whole safetensors file"),
        (large, "maximum allowed size of 24.0 MB"),
        (model, "safetensors"),
    ):
        open_weights(page, file)
        toast.filter(has_text=said).wait_for()
        assert str(tmp_path) not in toast.inner_text()
        assert "uploads" not in toast.inner_text()
        page.get_by_test_id("toast-close").click()
        toast.wait_for(state="hidden")
        assert {part: page.locator(part).inner_html() for part in kept} == kept
    assert page.locator("#weights input").input_value() == "tiny50: trained, 50 classes"
    assert page.locator("#page .error:visible").count() == 0
    changes(page, ANSWER, lambda: open_weights(page, own))


def test_two_people_at_once_get_what_they_chose(visit: Callable[..., Any]) -> None:
    one, other = visit(), visit()
    upload(one, EXAMPLES / "koala.jpg")
    upload(other, EXAMPLES / "orange.jpg")
    choose(other, "#attention", "No attention")
    says(one, Explainer.load("tiny50", "cbam").explain(EXAMPLES / "koala.jpg").prediction.top(5))
    plain = Explainer.load("tiny50", "none").explain(EXAMPLES / "orange.jpg").prediction
    says(other, plain.top(5))
    assert "No attention" not in one.locator("#maps").inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_fits_and_nothing_jumps(visit: Callable[..., Any], theme: str) -> None:
    page = visit(1440, 900, theme)
    changes(page, MAPS, lambda: page.locator("#examples button").nth(1).click())
    changes(page, MAPS, lambda: choose(page, "#attention", "No attention"))
    assert page.evaluate("window.shifted") <= 0.1
    for width in (390, 820, 1440, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    unnamed = "[...document.images].filter((image) => !image.hasAttribute('alt')).length"
    assert page.locator("#page").evaluate(unnamed) == 0


def test_the_opening_and_the_terms(config: dict[str, Any]) -> None:
    parts = {part["props"].get("elem_id"): part for part in config["components"]}
    ranked = Explainer.load("tiny50", "cbam").explain(EXAMPLES / "golden-retriever.jpg")
    label = html.escape(ranked.prediction.ranked[0].label)
    assert f">{label}</b>" in parts["answer"]["props"]["value"]
    assert parts["examples"]["props"]["value"].count("<button") >= 6
    states = [part for part in config["components"] if part["type"] == "state"]
    assert len(states) == 4
    assert not any("value" in state["props"] for state in states)
    public = [d["api_name"] for d in config["dependencies"] if d["api_visibility"] == "public"]
    assert public == ["explain", "figure", "pixel", "faithfulness"]
    assert not config["show_error"]
    assert not config["run_history"]
    assert config["max_file_size"] == 24 << 20

"""Lessons, what is taken home, and links, in a real browser; and pictures of all for people."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page import check
from PIL import Image
from served import served

from vggviz import Explainer
from vggviz.app.lessons.steps import LESSONS
from vggviz.app.tabs import TABS
from vggviz.locales import class_name, text
from vggviz.weights import assets_folder

EXAMPLES = assets_folder() / "examples"
WAIT = 120_000  # milliseconds
SCREENS = "VGGVIZ_SCREENS"
"""The environment variable with the folder that pictures of the page are written to."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[str]:
    with served(folder) as server:
        yield server.address
        assert "Traceback" not in server.printed(), server.printed()


@pytest.fixture
def visit(app: str, browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page with a query; nothing may fail in the browser, or leave the machine."""
    troubles: list[str] = []
    contexts: list[Any] = []

    def watch(request: Any) -> None:
        if not request.url.startswith((f"{app}/", f"blob:{app}/", "data:")):
            troubles.append(request.url)

    def open_page(query: str = "", width: int = 1440, height: int = 900) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        page.on("request", watch)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{app}/?{query}")
        page.locator("#picture input[type=file]").wait_for(state="attached")
        page.locator("#examples button").first.wait_for()
        page.locator("#take summary").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


def says(page: Any, label: str) -> None:
    """Wait until the page's verdict is this class."""
    page.locator(".verdict b", has_text=re.compile(f"^{label}$")).wait_for(state="attached")


def heads(page: Any, text: str) -> None:
    """Wait until this stands over a map."""
    page.locator("#maps h2", has_text=text).wait_for(state="attached")


def download(page: Any, format: str) -> tuple[str, bytes]:
    if not page.locator("#take details").evaluate("(details) => details.open"):
        page.locator("#take summary").click()
    with page.expect_download() as waiting:
        page.locator(f"#take button[data-format={format}]").click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_every_file_arrives_and_opens(visit: Callable[..., Any], folder: Path) -> None:
    page = visit("example=koala&attention=se&target=pizza&stage=block5")
    says(page, "koala")
    heads(page, "pizza")
    explained = Explainer.load("everyday", "se").explain(EXAMPLES / "koala.jpg", target="pizza")
    name, packed = download(page, "npz")
    assert name == "vggviz-pizza-se.npz"
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        wanted = explained.arrays()
        assert set(arrays) == set(wanted)
        for key in wanted:
            np.testing.assert_allclose(arrays[key], wanted[key], atol=1e-4, err_msg=key)
    told = json.loads(download(page, "json")[1])
    assert (told["target"]["label"], told["attention"]) == ("pizza", "se")
    with Image.open(io.BytesIO(download(page, "png")[1])) as picture:
        assert picture.width > 1000
    assert b"<svg" in download(page, "svg")[1]
    name, report = download(page, "html")
    found = [file.name for file in (folder / "uploads").rglob("*") if file.is_file()]
    assert not [name for name in found if name.startswith("vggviz-")]  # nothing lies on the disk
    link = re.search(r'<a href="([^"]*)"', report.decode())
    assert link is not None
    again = visit(link[1].replace("&amp;", "&").partition("?")[2])
    says(again, "koala")
    heads(again, "pizza")


def test_a_copied_link_opens_the_same(visit: Callable[..., Any]) -> None:
    page = visit("example=orange&attention=softmax&stage=block5&lang=zh&tab=what_if")
    page.locator("#what-if .halves").wait_for()
    says(page, class_name("zh", "orange"))
    page.locator("#take summary", has_text=text("zh", "take.name")).click()
    page.locator("#take button[data-format=link]").click()
    page.locator("#take output", has_text=text("zh", "take.copied")).wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert page.locator("html").get_attribute("lang") == "zh"
    assert link.endswith(
        "/?example=orange&weights=everyday&attention=softmax&stage=block5&tab=what_if&lang=zh"
    )
    other = visit(link.partition("?")[2])
    other.locator("#what-if .halves").wait_for()
    says(other, class_name("zh", "orange"))
    assert other.locator("#picture img").get_attribute("src").endswith("orange.jpg")


def test_a_link_brings_back_how_it_was_looked_at(visit: Callable[..., Any]) -> None:
    query = (
        "example=orange&weights=everyday&attention=cbam&stage=block5&target=orange&contrast=pizza"
        "&method=layercam&layout=attention-cam&on=picture&colours=viridis&opacity=0.80"
        "&tab=explore&lang=en"
    )
    page = visit(query)
    says(page, "orange")
    heads(page, "for orange")
    page.locator(".before-after .heat").nth(1).wait_for()  # LayerCAM takes a pass of its own
    assert page.locator(".before-after .heat").count() == 2
    assert page.evaluate("document.documentElement.style.getPropertyValue('--opacity')") == "0.8"
    assert page.locator("#contrast input").input_value() == "pizza"
    assert page.locator("#scale input:checked").input_value() == "raw"
    page.locator("#take summary").click()
    page.locator("#take button[data-format=link]").click()
    page.locator("#take output", has_text=text("en", "take.copied")).wait_for()
    assert page.evaluate("navigator.clipboard.readText()").endswith(f"/?{query}")


def test_a_link_with_nonsense_says_so_and_opens_the_rest(visit: Callable[..., Any]) -> None:
    page = visit("example=koala&attention=magic&stage=block9")
    toast = page.get_by_test_id("toast-body")
    toast.wait_for()
    assert "attention=magic, stage=block9" in toast.inner_text()
    says(page, "koala")


def test_ones_own_picture_is_no_link(visit: Callable[..., Any]) -> None:
    page = visit()
    page.set_input_files("#picture input[type=file]", EXAMPLES / "koala.jpg")
    says(page, "koala")
    page.locator("#take summary").click()
    page.locator("#take button[data-format=link]").click()
    page.get_by_test_id("toast-body").wait_for()
    assert "your own picture" in page.get_by_test_id("toast-body").inner_text()
    name, packed = download(page, "json")
    assert json.loads(packed)["top"][0]["label"] == "koala"
    assert name == "vggviz-koala-cbam.json"


def test_the_menu_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#take summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.format") == "png"
    with page.expect_download():
        page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert not page.locator("#take details").evaluate("(details) => details.open")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def picked(page: Any, option: int) -> Any:
    """The step that is shown, after an answer to its question."""
    step = page.locator("#lesson article:not([hidden])")
    step.locator("[data-option]").nth(option).click()
    return step


def test_a_lesson_asks_then_looks_what_the_student_does_then_reveals(
    visit: Callable[..., Any],
) -> None:
    page = visit()
    assert not page.locator("#lesson").is_visible()
    page.locator("#open-lessons button").click()
    page.locator("#lesson nav li").nth(4).locator("button").click()
    state = LESSONS[4].steps[0].state
    page.wait_for_function(
        "(target) => document.querySelector('#answer .explained')?.dataset.target === target",
        arg=state.target,
    )
    step = page.locator("#lesson article:not([hidden])")
    assert not step.locator(".do").is_visible()
    assert not step.locator(".reveal").is_visible()
    outline = "getComputedStyle(document.querySelector('#answer')).outlineStyle"
    assert page.evaluate(outline) == "solid"  # what the step speaks of
    picked(page, 0)  # attention: wrong
    assert step.locator(".do").is_visible()
    assert not step.locator(".reveal").is_visible()
    page.locator("#answer [data-class]", has_text="orange").first.click()  # what it asks for
    step.locator(".reveal").wait_for()
    assert step.locator(".no").is_visible()
    assert not step.locator(".yes").is_visible()
    assert not step.locator(".do").is_visible()
    page.locator("#lesson .next:visible").click()
    assert page.locator("#lesson .progress:visible .over").count() == 1
    assert page.locator("#lesson article:not([hidden])").get_attribute("data-step") == "contrast"
    page.locator("#lesson .back:visible").click()
    assert step.locator(".reveal").is_visible()  # it is remembered
    page.locator("#lesson .close").click()
    assert not page.locator("#lesson").is_visible()
    assert page.evaluate(outline) != "solid"


def test_arrows_reveal_and_step_and_a_link_opens_a_step(visit: Callable[..., Any]) -> None:
    page = visit("lesson=spatial.flat&lang=zh")
    step = page.locator("#lesson article:not([hidden])")
    step.get_by_text(text("zh", "lessons.spatial.flat.ask")).wait_for()
    page.locator('#maps .viewed[data-scale="stretch"]').wait_for(state="attached")
    page.locator("#scale").wait_for()  # folded away otherwise
    page.locator("#lesson h3:visible").click()
    page.keyboard.press("ArrowRight")  # reveals, and does what the student should
    step.locator(".reveal").wait_for()
    page.locator('#maps .viewed[data-scale="raw"]').wait_for(state="attached")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("location.search.includes('lesson=spatial.need')")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("location.search.includes('lesson=spatial.flat')")
    link = page.locator("#lesson footer a:visible")
    assert link.get_attribute("href") == "?lesson=spatial.flat"
    check(page.get_by_label("English"))
    step.get_by_text(text("en", "lessons.spatial.flat.ask")).wait_for()
    assert step.locator(".reveal").is_visible()


def test_arrows_step_lessons_in_stage_mode(visit: Callable[..., Any]) -> None:
    page = visit(width=1920, height=1080)
    page.keyboard.press("f")
    page.locator("html.stage-mode").wait_for(state="attached")
    assert not page.locator("#lesson").is_visible()
    page.keyboard.press("ArrowRight")  # opens the first lesson
    question = page.get_by_text(text("en", "lessons.sees.halves.ask"), exact=True)
    question.wait_for()
    first = LESSONS[0].steps[0]
    page.locator(f'#answer .explained[data-example="{first.state.example}"]').wait_for(
        state="attached"
    )
    assert page.locator("#lesson :is(button, a):visible").count() == 0
    page.keyboard.press("ArrowRight")  # reveals, and does what the student should
    page.locator("#lesson .reveal:visible").wait_for()
    page.wait_for_timeout(800)  # of a scroll that there must not be
    assert question.bounding_box()["y"] >= page.locator("#lesson").bounding_box()["y"]
    page.locator(first.done).wait_for(state="attached")
    sizes = "all => all.map((one) => parseFloat(getComputedStyle(one).fontSize))"
    assert min(page.locator("#lesson p:visible").evaluate_all(sizes)) >= 28
    band = page.locator("#lesson").bounding_box()
    scales = [one.bounding_box() for one in page.locator("#maps .scale").all()]
    assert all(box["y"] + box["height"] <= band["y"] for box in scales if box)
    text_end = page.locator("#lesson .reveal:visible").bounding_box()
    assert text_end["y"] + text_end["height"] <= 1080
    page.keyboard.press("ArrowRight")
    page.get_by_text(text("en", "lessons.sees.window.ask"), exact=True).wait_for()
    page.keyboard.press("ArrowLeft")
    question.wait_for()
    page.keyboard.press("Escape")
    page.locator("#lesson header").wait_for()  # the card beside the page, at this step
    assert "lesson=sees.halves" in page.url


def test_a_formulas_letters_light_up_and_a_phone_has_a_sheet(visit: Callable[..., Any]) -> None:
    page = visit("lesson=spatial.where", width=390)
    card = page.locator("#lesson")
    page.locator("#lesson article:not([hidden])").wait_for()
    box = card.bounding_box()
    assert box["width"] == 390
    assert box["y"] > 400  # what it speaks of stays above
    formula = page.locator("#lesson .formula:visible")
    formula.locator("summary").click()
    formula.locator("math mi", has_text="m").first.hover()
    tile = "getComputedStyle(document.querySelector('#maps figure:nth-of-type(2)')).outlineStyle"
    assert page.evaluate(tile) == "dashed"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert visit("tab=lessons").locator("#lesson nav").is_visible()  # links of earlier versions


@pytest.mark.skipif(SCREENS not in os.environ, reason=f"no folder in {SCREENS}")
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_pictures_of_every_tab_for_people(
    visit: Callable[..., Any], width: int, theme: str, lang: str
) -> None:
    """One picture a tab, named by language, theme, width and tab."""
    target = Path(os.environ[SCREENS])
    target.mkdir(parents=True, exist_ok=True)
    for tab in ("explore", *TABS):
        attention = "self_attention" if tab == "pixel" else "cbam"
        query = f"example=golden-retriever&attention={attention}&stage=block4&tab={tab}"
        page = visit(f"{query}&lang={lang}&__theme={theme}", width)
        page.locator(f'[role="tab"][data-tab-id="{tab}"][aria-selected="true"]').first.wait_for(
            state="attached"
        )
        page.wait_for_timeout(4000)  # some tabs draw by and by, and no one part tells of the last
        file = target / f"{lang}-{theme}-{width}-{tab}.png"
        page.screenshot(path=file, full_page=True)
        with Image.open(file) as picture:
            assert picture.width == width
        page.context.close()

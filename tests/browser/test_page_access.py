"""Who can use the page: axe-core's rules on every tab, the order of the keyboard's focus, and no
meaning by colour alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from page import show

from vggviz.app.tabs import TABS

Axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="the package axe-playwright-python is missing"
).Axe

GRADIO = {
    "image-redundant-alt ['img[alt=": "the footer's icons are called as the links they stand in",
}
"""What is Gradio's own and can't be mended from outside: rule and place, and what it is."""


NO_FADE = ".html-container.pending { animation: none !important; }"
"""What is about to be replaced fades: contrast is judged on what stands."""


def violations(page: Any, where: str) -> list[str]:
    """What axe-core finds, but for what is Gradio's own, a line for each part of the page: and
    what it finds of contrast in the other theme."""
    found = Axe().run(page).response["violations"]
    page.evaluate("document.body.classList.toggle('dark')")
    contrast = {"runOnly": ["color-contrast"]}
    found += Axe().run(page, options=contrast).response["violations"]
    page.evaluate("document.body.classList.toggle('dark')")
    return [
        f"{where}: {rule['id']} at {node['target']}: {node['failureSummary']} {node['html'][:200]}"
        for rule in found
        for node in rule["nodes"]
        if not any(f"{rule['id']} {node['target']}".startswith(known) for known in GRADIO)
    ]


@pytest.mark.parametrize(
    ("width", "theme", "locale", "attention"),
    [(1440, "light", "en-GB", "cbam"), (390, "dark", "zh-CN", "self_attention")],
)
def test_every_tab_is_for_everyone(
    visit: Callable[..., Any], width: int, theme: str, locale: str, attention: str
) -> None:
    query = f"&example=golden-retriever&attention={attention}&contrast=pizza"
    page = visit(width, 900, theme, locale, query)
    page.emulate_media(reduced_motion="reduce")
    page.add_style_tag(content=NO_FADE)
    page.locator("#maps figure:nth-of-type(4) .heat").wait_for()
    page.locator("#take summary").click()
    found = violations(page, "explore")
    page.locator("#take summary").click()  # closed: on a phone it lies over the tabs
    for tab in TABS:
        show(page, tab)
        found += violations(page, tab)
    page.locator("#open-lessons button").click()
    found += violations(page, "list of lessons")
    page.locator("#lesson [data-open=gradcam]").click()
    page.locator("#lesson article:not([hidden]) [data-option='1']").click()
    page.locator("#lesson .formula:visible summary").click()
    found += violations(page, "lesson")
    assert not found, "\n".join(found)


FOCUSED = """
() => {
  const at = document.activeElement;
  const part = at.closest("#head, #open-lessons, #take, #language, #source, #picture, #examples,"
    + "#weights, #attention, #more, #target, #contrast, #own, #about, #tabs [role=tablist],"
    + "#answer, #maps, #thumbnails, #stage, #method, #layout, #on, #scale,"
    + "#colours, #opacity, #channels");
  const seen = [at, at.closest("label, .block, .before-after, .wrap-inner, .wrap")];
  const marks = (one) => one && (getComputedStyle(one).outlineStyle !== "none"
    || getComputedStyle(one).boxShadow !== "none");
  return [part ? part.id || "tablist" : "", at.tagName === "BODY" ? null : seen.some(marks),
    at.outerHTML.slice(0, 120)];
}
"""


def test_the_keyboards_focus_goes_as_the_eye_does(visit: Callable[..., Any]) -> None:
    page = visit()
    page.evaluate("document.activeElement.blur()")
    found: list[str] = []
    unmarked: list[str] = []
    for _ in range(99):
        page.keyboard.press("Tab")
        part, marked, html = page.evaluate(FOCUSED)
        if marked is None:
            break
        if not found or found[-1] != part:
            found.append(part)
        if part and not marked:
            unmarked.append(html)
    assert found == [
        *("head", "open-lessons", "take", "language", "source", "examples", "weights", "attention"),
        *("more", "target", "contrast", "own", "about", "tablist", "answer", "maps"),
        *("thumbnails", "stage", "method", "layout", "on", "colours", "scale", "opacity"),
        *("channels", ""),  # "" is the footer
    ]
    assert not unmarked

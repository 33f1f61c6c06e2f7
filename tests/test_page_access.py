"""Who can use the page: axe-core's rules on every tab, the order of the keyboard's focus, and no
meaning by colour alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from page import show

from vggviz.ui.tabs import TABS

Axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="the package axe-playwright-python is missing"
).Axe

GRADIO: dict[str, str] = {}
"""What is Gradio's own, by rule and a part of the selector, and why it can't be mended here."""


def violations(page: Any, where: str) -> list[str]:
    """What axe-core finds, but for what is Gradio's own, a line for each part of the page."""
    found = Axe().run(page).response["violations"]
    return [
        f"{where}: {rule['id']} at {node['target']}: {node['failureSummary']} {node['html'][:200]}"
        for rule in found
        for node in rule["nodes"]
        if not any(part in f"{rule['id']} {node['target']}" for part in GRADIO)
    ]


@pytest.mark.parametrize(
    ("width", "theme", "locale", "attention"),
    [
        (1440, "light", "en-GB", "cbam"),
        (1440, "dark", "zh-CN", "self_attention"),
        (390, "light", "zh-CN", "self_attention"),
        (390, "dark", "en-GB", "cbam"),
    ],
)
def test_every_tab_is_for_everyone(
    visit: Callable[..., Any], width: int, theme: str, locale: str, attention: str
) -> None:
    query = f"&example=golden-retriever&attention={attention}&contrast=pizza"
    page = visit(width, 900, theme, locale, query)
    page.emulate_media(reduced_motion="reduce")
    page.locator("#maps figure:nth-of-type(4) .heat").wait_for()
    found = violations(page, "explore")
    for tab in TABS:
        show(page, tab)
        if tab == "lessons":  # all of them at once
            page.evaluate(
                "document.querySelectorAll('#lessons details').forEach((part) =>"
                "{ part.removeAttribute('name'); part.open = true; })"
            )
        found += violations(page, tab)
    page.locator("#take summary").click()
    found += violations(page, "take home")
    assert not found, "\n".join(found)

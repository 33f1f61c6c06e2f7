"""What can be read at every width: no name is cut off, no letter of a diagram is small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from page import show

from vggviz.app.tabs import TABS

WIDTHS = (390, 1024, 1440, 1920)
SHEET = "(open) => document.documentElement.classList.toggle('sheet', open)"

# What is hidden from the eye on purpose is 1 pixel wide, or clipped away as a whole.
CUT_OFF = """() => [...document.querySelectorAll("body *")]
  .filter((one) => one.clientWidth > 1 && one.checkVisibility({visibilityProperty: true})
    && getComputedStyle(one).clipPath === "none" && one.closest(".gradio-container")
    && !one.closest("#picture, .tab-container[aria-hidden=true]"))
  .filter((one) => one.matches("input:not([type]), input[type=text]")
    || (["hidden", "clip"].includes(getComputedStyle(one).overflowX) && one.innerText?.trim()))
  .filter((one) => one.scrollWidth > one.clientWidth + 1)
  .map((one) => `${one.scrollWidth} > ${one.clientWidth}: ${one.value ?? one.innerText} in `
    + one.cloneNode(false).outerHTML.slice(0, 120))"""

LETTERS = """() => [...document.querySelectorAll(".mechanism svg")]
  .filter((one) => one.checkVisibility())
  .map((one) => parseFloat(one.getAttribute("font-size")) * one.getBoundingClientRect().width
    / one.viewBox.baseVal.width)"""


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_no_name_is_cut_off(visit: Callable[..., Any], locale: str) -> None:
    page = visit(1440, 900, locale=locale, query="&attention=se")
    found: list[str] = []
    for tab in ("explore", *TABS):
        page.set_viewport_size({"width": 1440, "height": 900})
        if tab != "explore":
            show(page, tab)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate(SHEET, width < 761)
            page.wait_for_timeout(300)
            found += [f"{tab}, {width}: {one}" for one in page.evaluate(CUT_OFF)]
            sizes = page.evaluate(LETTERS)
            assert bool(sizes) == (tab == "types" and width > 760)
            assert all(size >= 13.9 for size in sizes), (tab, width, sizes)
    assert not found, "\n".join(found)

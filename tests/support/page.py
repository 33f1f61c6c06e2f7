"""What people do on the page, for its tests in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vggviz.types import Ranked
from vggviz.weights import assets_folder

EXAMPLES = assets_folder() / "examples"
OPENING = EXAMPLES / "tabby-and-golden-retriever.jpg"
"""The picture that the page opens with."""


def upload(page: Any, file: Path) -> None:
    page.set_input_files("#picture input[type=file]", file)


def choose(page: Any, dropdown: str, option: str) -> None:
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def check(box: Any) -> None:
    """Choose a radio button or check a box, again where an answer that arrived at the same moment
    set it back."""
    from playwright.sync_api import expect

    for _ in range(4):
        box.click(force=True)
        try:
            return expect(box).to_be_checked(timeout=3_000)
        except AssertionError:
            continue
    raise AssertionError(f"{box} stays unchecked")


def changes(page: Any, part: str, act: Callable[[], object]) -> None:
    """Do something, and wait until it shows in that part of the page."""
    before = page.locator(part).inner_html()
    act()
    page.wait_for_function(
        "([part, before]) => document.querySelector(part).innerHTML !== before",
        arg=[part, before],
    )


PARTS = ("answer", "maps", "channels", "channel", "strip")
ANSWER, MAPS, CHANNELS, CHANNEL, STRIP = (f"#{part} .html-container" for part in PARTS)


def says(page: Any, top: tuple[Ranked, ...]) -> None:
    """Wait until the page shows these five classes, in this order."""
    page.wait_for_function(
        "(wanted) => JSON.stringify([...document.querySelectorAll('#answer .name')]"
        ".map((name) => name.textContent)) === JSON.stringify(wanted)",
        arg=[ranked.label for ranked in top],
    )


READY = {
    "paint": "#paint :is(.moving, .nothing)",
    "pixel": "#pixel :is(.canvas, .nothing)",
    "blocks": "#blocks tbody tr:nth-child(3)",
    "types": "#types .kind:last-child .place > *",
    "what_if": "#what-if .halves",
    "faithful": "#faithful .halves",
}
"""What stands in a tab once it is drawn."""


def show(page: Any, tab: str) -> None:
    """Open a tab by its button, and wait until it is drawn."""
    page.locator(f'#tabs [role=tab][data-tab-id="{tab}"]').click()
    page.locator(READY[tab]).first.wait_for(state="attached")

"""What comes late on the page: the last choice counts, in whatever order answers come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import WAIT
from page import check, choose

from vggviz.app import LAUNCH, QUEUE, build, handlers
from vggviz.app.networks import Networks
from vggviz.cam import METHODS

EXAMPLE = "lesser-panda"
"""The fourth of the examples."""


class Gate:
    """A function waits here, until the test opens it."""

    def __init__(self) -> None:
        self._reached, self._open = threading.Event(), threading.Event()

    def wait(self) -> None:
        self._reached.set()
        assert self._open.wait(WAIT / 1000)

    def reached(self) -> None:
        """Wait until the function waits."""
        assert self._reached.wait(WAIT / 1000)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def page(browser: Any, gate: Gate) -> Iterator[Any]:
    """A page in this process, where a function can be made to wait."""
    demo = build(Networks({"everyday": ("cbam", "se")}))
    _, address, _ = demo.queue(**QUEUE).launch(**LAUNCH, prevent_thread_lock=True, quiet=True)
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    try:
        page.goto(f"{address}?more=1")
        page.locator("#maps img").nth(1).wait_for()
        page.locator("#picture input[type=file]").wait_for(state="attached")
        yield page
    finally:
        gate.open()
        page.close()
        demo.close()


def explained(page: Any, example: str) -> None:
    """Wait until the answer and the maps are of this example."""
    page.locator(f'#answer .explained[data-example="{example}"]').wait_for(state="attached")
    page.locator(f'#maps [data-address*="example={example}"]').wait_for(state="attached")


def late(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, gate: Gate) -> None:
    """The first call of a function from now on returns only once the gate is open."""
    function, calls = getattr(owner, name), []

    def call(*args: Any, **named: Any) -> Any:
        calls.append(None)
        first, found = len(calls) == 1, function(*args, **named)
        if first:
            gate.wait()
        return found

    monkeypatch.setattr(owner, name, call)


def test_a_slow_method_does_not_bring_the_old_picture_back(
    page: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    late(monkeypatch, handlers.Session, "maps", gate)
    choose(page, "#method", METHODS["scorecam"].title)
    gate.reached()
    page.locator("#examples button").nth(3).click()
    explained(page, EXAMPLE)
    gate.open()
    page.locator("#maps figure:nth-of-type(3) .heat").wait_for()  # Score-CAM of the new picture
    explained(page, EXAMPLE)
    check(page.get_by_label("Block 5", exact=True))  # what the server has is of the new one, too
    page.locator('#maps [data-stage="Block 5"]').wait_for(state="attached")
    explained(page, EXAMPLE)

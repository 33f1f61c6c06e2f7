"""Tabs work only while they are open: each is called when there is something new to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vggviz.app.pictures import Shown
from vggviz.app.shell import HIDDEN, Shell

__all__ = ["Call", "wake"]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What a tab is to show, and in which language.

    Gradio tells by its hash whether a state has changed: it is that of the question, since the same
    result with one more map of Explore's is nothing new to the other tabs.
    """

    shown: Shown
    lang: str

    def __hash__(self) -> int:
        question = self.shown.question
        return hash((question if question.path else id(self.shown), self.lang))

    def __deepcopy__(self, memo: object) -> Call:
        return self


def wake(shell: Shell, tabs: Mapping[str, gr.Tab]) -> None:
    """Put a `Call` into the open tab's state in `shell.calls`, and into no other's, whenever the
    tab is opened, another result came or the language changed. What is the same as before changes
    no state, so that a tab that is opened again still shows what it had.

    Only one function writes the calls, one at a time, after what it reads has been set: so the
    last one to run has seen it all, in whatever order things came.
    """
    opened = gr.State("explore")
    how: dict[str, Any] = {"api_visibility": "private", **HIDDEN}
    times = gr.State(0)  # the first tab is selected as the page opens: that may come after a click

    def again(times: int) -> tuple[Any, int]:
        return "explore" if times else gr.skip(), times + 1

    # In the queue, since a state's `change` is fired by what went through it only; one by one.
    turns: dict[str, Any] = {"concurrency_id": "opened", "concurrency_limit": 1, **how}
    for key, tab in tabs.items():
        if key == "explore":
            tab.select(again, times, [opened, times], **turns)
        else:
            tab.select(lambda key=key: key, None, opened, **turns)

    def call(opened: str, shown: Shown, lang: str) -> list[Any]:
        return [Call(shown, lang) if key == opened else gr.skip() for key in shell.calls]

    gr.on(
        [opened.change, shell.shown.change, shell.lang.change],
        call,
        [opened, shell.shown, shell.lang],
        list(shell.calls.values()),
        concurrency_limit=1,
        **how,
    )

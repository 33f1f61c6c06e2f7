"""Tabs work only while they are open: each is called when there is something new to show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import gradio as gr

from vggviz.ui.pictures import Shown
from vggviz.ui.shell import Shell

__all__ = ["Call", "wake"]


class Call(NamedTuple):
    """What a tab is to show, and in which language."""

    shown: Shown
    lang: str


def wake(shell: Shell, tabs: Mapping[str, gr.Tab]) -> None:
    """Put a `Call` into the open tab's state in `shell.calls`, and into no other's, whenever the
    tab is opened, another result came or the language changed. What is the same as before changes
    no state, so that a tab that is opened again still shows what it had."""
    opened = gr.State("explore")
    how: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    # In the queue, since a state's `change` is fired by what went through it only.
    for key, tab in tabs.items():
        if key in shell.calls:
            tab.select(
                lambda shown, lang, key=key: (key, Call(shown, lang)),
                [shell.shown, shell.lang],
                [opened, shell.calls[key]],
                **how,
            )
        else:
            tab.select(lambda key=key: key, None, opened, **how)

    def call(opened: str, shown: Shown, lang: str) -> list[Any]:
        return [Call(shown, lang) if key == opened else gr.skip() for key in shell.calls]

    gr.on(
        [shell.shown.change, shell.lang.change],
        call,
        [opened, shell.shown, shell.lang],
        list(shell.calls.values()),
        **how,
    )

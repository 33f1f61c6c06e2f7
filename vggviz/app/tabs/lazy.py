"""Lazy tabs: a tab is rendered when it is opened, and again only for another result or language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from vggviz.app.session import Session
from vggviz.app.shell import HIDDEN, Shell

__all__ = ["draw_open_tab"]


def draw_open_tab(shell: Shell, tabs: Mapping[str, gr.Tab]) -> None:
    """Set the open tab's state in `shell.sessions` to the visitor's session whenever the tab is
    opened, another result came or the language changed; the state's `change` event renders the tab.
    A session with the same hash (`Session.__hash__`) is no change: a tab that is opened again is
    not rendered again.

    One function writes these states, one call at a time, after the states that it reads have been
    set: so the last call has the latest values, in whatever order the events came.
    """
    opened = gr.State("explore")
    times = gr.State(0)  # the first tab is selected as the page opens: that may come after a click

    def reopen(times: int) -> tuple[Any, int]:
        return "explore" if times else gr.skip(), times + 1

    # In the queue, since only its events fire a state's `change`; and one at a time.
    queued: dict[str, Any] = {"concurrency_id": "opened", "concurrency_limit": 1, **HIDDEN}
    for key, tab in tabs.items():
        if key == "explore":
            tab.select(reopen, times, [opened, times], **queued)
        else:
            tab.select(lambda key=key: key, None, opened, **queued)

    def update(session: Session, opened: str) -> list[Any]:
        return [session if key == opened else gr.skip() for key in shell.sessions]

    gr.on(
        [opened.change, shell.result.change, shell.lang.change],
        shell.bind(update),
        [*shell.states, opened],
        list(shell.sessions.values()),
        concurrency_limit=1,
        **HIDDEN,
    )

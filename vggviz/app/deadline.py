"""Ends work that took too long, or whose visitor has left."""

from __future__ import annotations

import time

from vggviz.app.errors import user_error
from vggviz.explainer import Report
from vggviz.gradio_private import current_event
from vggviz.locales import text

__all__ = ["deadline"]


def deadline(seconds: float, lang: str = "en") -> Report:
    """A function to call between the passes of long work, as a `progress` callback. It raises
    gr.Error once the current request has run for `seconds`, and as soon as Gradio knows that its
    visitor has left.

    When a visitor leaves, Gradio itself stops a generator at its next value, but never a plain
    function: that would run to its end and meanwhile occupy one of the slots of
    `concurrency_limit`.
    """
    event, start = current_event(), time.monotonic()

    def check(done: int = 0, total: int = 0) -> None:
        if event is not None and not event.alive:
            raise user_error(text(lang, "trouble.gone"))
        if time.monotonic() - start > seconds:
            raise user_error(text(lang, "trouble.long", seconds=f"{seconds:g}"))

    return check

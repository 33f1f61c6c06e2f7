"""Ends work that took too long, or whose visitor has left."""

from __future__ import annotations

import time

from gradio.context import LocalContext
from gradio.queueing import Event

from vggviz.app.errors import user_error
from vggviz.explainer import Report
from vggviz.locales import text

__all__ = ["deadline"]


def deadline(seconds: float, lang: str = "en") -> Report:
    """A function to call between the passes of long work, as a `progress` callback. It raises
    gr.Error once the current request has run for `seconds`, and as soon as Gradio knows that its
    visitor has left.

    Then Gradio itself ends generators, at their next value, but never functions: one of those would
    go on to its end, and occupy one of the slots of `concurrency_limit` meanwhile.
    """
    event, start = _event(), time.monotonic()

    def check(done: int = 0, total: int = 0) -> None:
        if event is not None and not event.alive:
            raise user_error(text(lang, "trouble.gone"))
        if time.monotonic() - start > seconds:
            raise user_error(text(lang, "trouble.long", seconds=f"{seconds:g}"))

    return check


def _event() -> Event | None:
    """The queue's entry of the request that is being answered; None outside of the queue.

    When a page or a client of the API closes its stream of answers, the queue marks its entries as
    no longer alive.
    """
    page, key = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    return page._queue.event_ids_to_events.get(key) if page is not None and key else None

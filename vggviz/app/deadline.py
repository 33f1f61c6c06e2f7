"""Work that nobody waits for any more ends: its user has left, or it took too long."""

from __future__ import annotations

import time

from gradio.context import LocalContext
from gradio.queueing import Event

from vggviz.app.inputs import refusal
from vggviz.explainer import Report
from vggviz.locales import text

__all__ = ["patience"]


def patience(seconds: float, lang: str = "en") -> Report:
    """What to call between the passes of long work: as a `progress`, of which it ignores what is
    done. It raises gr.Error, a sentence for people, once the one request that it was made in has
    run for `seconds`, and as soon as Gradio knows that its user is gone.

    Gradio ends a generator at its next value then, but never a function: that would keep its place
    among those that may run at once to the end.
    """
    event, start = _event(), time.monotonic()

    def check(done: int = 0, total: int = 0) -> None:
        if event is not None and not event.alive:
            raise refusal(text(lang, "trouble.gone"))
        if time.monotonic() - start > seconds:
            raise refusal(text(lang, "trouble.long", seconds=f"{seconds:g}"))

    return check


def _event() -> Event | None:
    """What Gradio's queue knows of the request that is being answered; None outside of it.

    The stream of answers that a page, or a client of the API, holds open is what ends when it
    leaves: the queue then marks what it asked for as no longer alive.
    """
    page, key = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    return page._queue.event_ids_to_events.get(key) if page is not None and key else None

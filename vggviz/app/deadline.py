"""Work that nobody waits for any more ends: its user has left, or it took too long."""

from __future__ import annotations

import time

from vggviz.app.inputs import refusal
from vggviz.explainer import Report
from vggviz.gradio_private import current_event
from vggviz.locales import text

__all__ = ["patience"]


def patience(seconds: float, lang: str = "en") -> Report:
    """What to call between the passes of long work: as a `progress`, of which it ignores what is
    done. It raises gr.Error, a sentence for people, once the one request that it was made in has
    run for `seconds`, and as soon as Gradio knows that its user is gone.

    Gradio ends a generator at its next value then, but never a function: that would keep its place
    among those that may run at once to the end.
    """
    event, start = current_event(), time.monotonic()

    def check(done: int = 0, total: int = 0) -> None:
        if event is not None and not event.alive:
            raise refusal(text(lang, "trouble.gone"))
        if time.monotonic() - start > seconds:
            raise refusal(text(lang, "trouble.long", seconds=f"{seconds:g}"))

    return check

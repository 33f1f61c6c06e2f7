"""Eviction of answers that no client fetches, so that they don't fill the server's memory."""

from __future__ import annotations

from typing import Any

from vggviz.gradio_private import Queue, evict, oldest_messages

__all__ = ["EVERY", "TIMEOUT", "QueueEviction"]

TIMEOUT = 60.0  # seconds
EVERY = 5.0  # seconds between two checks


class QueueEviction:
    """Drops the sessions whose oldest message has not been fetched for `TIMEOUT` seconds.

    A client that listens to its stream of answers fetches every message at once. For one that sends
    events and never listens, Gradio would keep all answers, of 300 kB and more each, until 2,000
    other sessions have come.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self._since: dict[str, tuple[Any, float]] = {}  # by session: oldest message, first seen
        self._checked = float("-inf")

    async def run(self, now: float) -> None:
        """Check all sessions, at most once in `EVERY` seconds; `now` in seconds never falls. What
        waits and runs for a dropped session is cancelled, as of one that left. To be called in the
        server's event loop."""
        if now - self._checked < EVERY:
            return
        self._checked, before = now, self._since
        self._since = {
            session: before[session]
            if session in before and before[session][0] is message
            else (message, now)
            for session, message in oldest_messages(self.queue).items()
        }
        for session, (_, since) in self._since.items():
            if now - since >= TIMEOUT:
                await evict(self.queue, session)

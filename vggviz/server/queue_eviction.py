"""Answers that nobody fetches must not fill the server's memory."""

from __future__ import annotations

from typing import Any

from gradio.queueing import Queue

__all__ = ["KEPT", "Unread"]

KEPT = 60.0  # seconds
EVERY = 5.0  # seconds between two looks


class Unread:
    """Which answers wait to be fetched, and since when.

    Who listens is sent each at once. Of who asks and never listens Gradio would keep them all, each
    of 300 kB or more, until 2,000 other sessions have come.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self._since: dict[str, tuple[Any, float]] = {}  # a session's first message, first seen
        self._looked = float("-inf")

    async def forget(self, now: float) -> None:
        """Let go of who has not listened for `KEPT` seconds, as of one who left: what is unread,
        what waits, and what runs. Called in the server's event loop at every request."""
        if now - self._looked < EVERY:
            return
        self._looked = now
        held = self.queue.pending_messages_per_session
        since: dict[str, tuple[Any, float]] = {}
        for session, messages in held.items():
            if not messages.empty():
                first, seen = messages._queue[0], self._since.get(session)
                since[session] = seen if seen and seen[0] is first else (first, now)
        self._since = since
        for session, (_, seen_at) in since.items():
            if now - seen_at >= KEPT:
                await self.queue.clean_events(session_hash=session)
                held.pop(session, None)
                self.queue.pending_event_ids_session.pop(session, None)

"""A bound on how many calls run at once outside of the queue, and how many wait."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

from vggviz.app.errors import user_error
from vggviz.locales import text

__all__ = ["Slots"]


class Slots:
    """At most `running` calls at a time, and at most `waiting` that wait for one of them, each for
    at most `seconds`: more are refused at once. Safe to share between threads."""

    def __init__(self, running: int, waiting: int, seconds: float) -> None:
        self._free = BoundedSemaphore(running)
        self._lock, self._waiting = Lock(), 0
        self.waiting, self.seconds = waiting, seconds

    @contextmanager
    def enter(self, lang: str = "en") -> Generator[None, None, None]:
        """Wait for a slot, and hold it inside of the `with`. Raises gr.Error where too many wait
        or it takes too long."""
        with self._lock:
            if self._waiting >= self.waiting:
                raise user_error(text(lang, "trouble.strokes"))
            self._waiting += 1
        try:
            free = self._free.acquire(timeout=self.seconds)
        finally:
            with self._lock:
                self._waiting -= 1
        if not free:
            raise user_error(text(lang, "trouble.strokes"))
        try:
            yield
        finally:
            self._free.release()

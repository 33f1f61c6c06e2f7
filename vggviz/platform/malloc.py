"""Settings of glibc's allocator for a server, whose answers would leave free memory behind.

On other systems than Linux, and with other C libraries, these functions change nothing.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from contextlib import suppress

__all__ = ["limit_malloc", "trim_until"]

LARGE = 4 << 20  # bytes: Pillow keeps pictures in blocks of 16 MB, few activations are as large
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of glibc's malloc.h


def limit_malloc() -> None:
    """Set one arena for all threads (M_ARENA_MAX) and mmap for blocks from `LARGE` bytes up
    (M_MMAP_THRESHOLD).

    With an arena a thread, an hour of answers left 450 MB free but unreturned; mapped blocks go
    back to the system when they are freed, where pictures of 49 megapixels left 700 MB. Threads
    keep the arena that they have, so call this first: importing Gradio starts a thread.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_ARENA_MAX, 1)
            mallopt(_M_MMAP_THRESHOLD, LARGE)


def trim_until(stop: threading.Event, every: float = 60) -> None:
    """Wait for `stop`; meanwhile return free memory below the top of the heap to the system
    (malloc_trim), once in `every` seconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    while not stop.wait(every):
        if trim:
            trim(0)

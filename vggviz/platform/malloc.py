"""How much memory there is; what answers leave behind must not stay in a server's."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from contextlib import suppress

__all__ = ["give_back_until", "keep_little", "physical"]

LARGE = 4 << 20  # bytes: Pillow keeps pictures in blocks of 16 MB, few activations are as large
MINUTE = 60.0
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of glibc's malloc.h


def keep_little() -> None:
    """Have glibc keep less of what is free; it does nothing where there is no glibc.

    One heap for all threads: with one each, what an hour of answers leaves free here and there
    came to 450 MB. And blocks of 4 MB and more go back to the system at once: pictures of 49
    megapixels would leave 700 MB. To be called before there are threads, which keep what they have:
    Gradio starts one when it is imported.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_ARENA_MAX, 1)
            mallopt(_M_MMAP_THRESHOLD, LARGE)


class _MemoryStatus(ctypes.Structure):
    """Windows' MEMORYSTATUSEX."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 6),
    )


def physical() -> int:
    """The bytes of this machine's memory."""
    if sys.platform == "win32":  # which has no sysconf
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def give_back_until(stop: threading.Event, every: float = MINUTE) -> None:
    """Wait for `stop`, and until then have glibc give back what is free below the top of its heap,
    once in so many seconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    while not stop.wait(every):
        if trim:
            trim(0)

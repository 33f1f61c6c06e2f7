"""Large pictures must not stay in the server's memory after they are gone."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

__all__ = ["give_back"]

LARGE = 4 << 20  # bytes: Pillow keeps pictures in blocks of 16 MB, few activations are as large
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


def give_back() -> None:
    """Have blocks of 4 MB and more go back to the system as soon as they are free.

    glibc would keep them from the first one on, scattered over the heaps of all threads: after a
    few pictures of 49 megapixels that is 700 MB. It does nothing where there is no glibc.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)

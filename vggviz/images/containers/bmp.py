"""BMP: its size, and how much of it is run-length coded."""

from __future__ import annotations

import struct

from vggviz.images.containers.container import Container
from vggviz.images.errors import ImageError, check_size

MAX_RUNS = 1 << 20  # bytes of runs, which Pillow decodes in Python


def scan(data: bytes, name: str) -> Container:
    """The file as it is."""
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
        (compression,) = struct.unpack_from("<I", data, 30)
        (start,) = struct.unpack_from("<I", data, 10)
        if compression in (1, 2) and len(data) - start > MAX_RUNS:
            raise ImageError("image_runs", name=name, most=MAX_RUNS >> 20)
    check_size(width, abs(height), name)
    return Container("BMP", data)

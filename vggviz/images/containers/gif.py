"""GIF: the first frame."""

from __future__ import annotations

import struct

from vggviz.images.containers.container import Container
from vggviz.images.errors import check_size, too_complex

MAX_BLOCKS = 1_000_000  # of at most 255 bytes


def scan(data: bytes, name: str) -> Container:
    """The header, the first image and the control block before it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = head = 13 + _table(flags)
    control = b""
    for _ in range(MAX_BLOCKS):
        introducer = data[at]
        if introducer == 0x21:  # an extension
            end = _end_of_blocks(data, at + 2, name)
            if data[at + 1] == 0xF9:
                control = data[at:end]
            at = end
        elif introducer == 0x2C:  # an image
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, at + 1)
            # The frame may be larger than the screen, which grows then.
            check_size(max(width, left + wide), max(height, top + high), name)
            end = _end_of_blocks(data, at + 11 + _table(flags), name)
            rest = b";" if end <= len(data) else b""
            first = b"".join((data[:head], control, data[at:end], rest))
            return Container("GIF", first, animated=_has_image(data, end, name))
        elif introducer == 0x3B:
            raise ValueError("no image")
        else:  # Pillow, too, passes over what is no block
            at += 1
    raise too_complex(name, "blocks", MAX_BLOCKS)


def _has_image(data: bytes, at: int, name: str) -> bool:
    """Whether an image follows from `at` on, after any extensions."""
    for _ in range(MAX_BLOCKS):
        if data[at : at + 1] != b"!":
            return data[at : at + 1] == b","
        at = _end_of_blocks(data, at + 2, name)
    raise too_complex(name, "blocks", MAX_BLOCKS)


def _table(flags: int) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _end_of_blocks(data: bytes, at: int, name: str) -> int:
    """Where a chain of sub-blocks ends; beyond the data where it is cut."""
    length = len(data)
    for _ in range(MAX_BLOCKS):
        if at >= length:
            return length + 1
        size = data[at]
        at += size + 1
        if not size:
            return at
    raise too_complex(name, "blocks", MAX_BLOCKS)

"""What a picture file holds that is needed to decode it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_PROFILE = 4 << 20  # bytes of a colour profile


@dataclass(frozen=True, slots=True)
class Container:
    """A picture file without what is not needed.

    `format` is Pillow's name, `data` the cleaned file; `orientation` is EXIF's 1 to 8, `icc` an
    embedded colour profile. `animated` says that there are more frames, which were left out.
    `max_value` is the largest sample that a deep format declares.
    """

    format: str
    data: bytes
    orientation: int = 1
    icc: bytes = b""
    max_value: int | None = None
    animated: bool = False


def exif_orientation(block: bytes) -> int:
    """The orientation in a block of EXIF, 1 where there is none: no other entry is read."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number, value = struct.unpack_from(f"{order}HHIH", block, at)
            if tag == 0x0112:
                return value if (kind, number) == (3, 1) and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1

"""WebP: the still image, or the first frame."""

from __future__ import annotations

import struct

from vggviz.images.containers.container import MAX_PROFILE, Container, exif_orientation
from vggviz.images.errors import check_size, too_complex

MAX_CHUNKS = 10_000
MAX_PIXELS = 30_000_000  # Pillow's decoder holds four copies
_ALPHA, _ANIMATION = 0x10, 0x02


def scan(data: bytes, name: str) -> Container:
    """The chunks of the first frame of a WebP file."""
    view, at = memoryview(data), 12
    chunks: dict[bytes, bytes] = {}
    frames = 0
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(view):
            break
        kind, length = struct.unpack_from("<4sI", view, at)
        end = at + 8 + length + length % 2
        frames += kind == b"ANMF"
        chunks.setdefault(kind, bytes(view[at:end]))
        at = end
    else:
        raise too_complex(name, "chunks", MAX_CHUNKS)
    icc, exif = (chunks.pop(kind, b"")[8:] for kind in (b"ICCP", b"EXIF"))
    order: tuple[bytes, ...] = (b"ALPH", b"VP8 ") if b"VP8 " in chunks else (b"VP8L",)
    extended = chunks.get(b"VP8X", b"")
    if extended:
        check_size(*_canvas(extended), name, MAX_PIXELS)
        if extended[8] & _ANIMATION:
            order = (b"ANIM", b"ANMF")
        flags = bytes([extended[8] & (_ALPHA | _ANIMATION)])
        chunks[b"VP8X"] = extended[:8] + flags + extended[9:]
    else:
        check_size(*_still(chunks), name, MAX_PIXELS)
    body = b"".join(chunks.get(kind, b"") for kind in (b"VP8X", *order))
    head = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP"
    turn, animated = exif_orientation(exif), frames > 1
    return Container("WEBP", head + body, turn, icc[:MAX_PROFILE], animated=animated)


def _canvas(extended: bytes) -> tuple[int, int]:
    wide, high = (int.from_bytes(extended[at : at + 3], "little") + 1 for at in (12, 15))
    return wide, high


def _still(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    if b"VP8 " in chunks:  # a frame tag of 3 bytes, a start code of 3
        width, height = struct.unpack_from("<HH", chunks[b"VP8 "], 14)
        return width & 0x3FFF, height & 0x3FFF
    (bits,) = struct.unpack_from("<I", chunks[b"VP8L"], 9)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1

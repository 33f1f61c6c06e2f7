"""PNG: the chunks of the still image."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

from vggviz.images.containers.container import MAX_PROFILE, Container, exif_orientation
from vggviz.images.errors import MAX_DEEP_COLOUR, MAX_PIXELS, check_size, too_complex

MAX_CHUNKS = 100_000
_CHANNELS = {2: 3, 4: 2, 6: 4}
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def scan(data: bytes, name: str) -> Container:
    """The header, palette, transparency and pixels of a PNG file."""
    view, at, icc, orientation = memoryview(data), 8, b"", 1
    animated = False
    pieces = [view[:8]]
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(view):
            break
        length, kind = struct.unpack_from(">I4s", view, at)
        body, end = view[at + 8 : at + 8 + length], at + 12 + length
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", body)
            deep = MAX_DEEP_COLOUR // (2 * _CHANNELS.get(colour, 4))
            check_size(width, height, name, deep if depth == 16 and colour else MAX_PIXELS)
        if kind in _NEEDED:
            pieces.append(view[at:end])
        elif kind == b"iCCP" and not icc:
            icc = _profile(bytes(body))
        elif kind == b"eXIf":
            orientation = exif_orientation(bytes(body))
        elif kind == b"acTL":
            animated = bytes(body[:4]) > b"\0\0\0\1"  # the number of frames
        at = end
        if kind == b"IEND":
            break
    else:
        raise too_complex(name, "chunks", MAX_CHUNKS)
    return Container("PNG", b"".join(pieces), orientation, icc, animated=animated)


def _profile(body: bytes) -> bytes:
    with suppress(zlib.error):
        packed = body[body.index(b"\0") + 2 :] if b"\0" in body[:80] else b""
        return zlib.decompressobj().decompress(packed, MAX_PROFILE)
    return b""

"""JPEG: the segments of the first image, up to its end."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from vggviz.images.containers.container import MAX_PROFILE, Container, exif_orientation
from vggviz.images.errors import MAX_PIXELS, MAX_SCANS, ImageError, check_size, too_complex

MAX_SEGMENTS = 10_000
MAX_WORK = 600_000_000  # pixels times scans: each scan goes over all pixels
MAX_COEFFICIENTS = 360 << 20  # bytes; kept for the whole image where it has several scans

_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # not a stuffed byte, nor a restart
_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SOS, _EOI = 0xDA, 0xD9
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # Huffman, arithmetic, quantisation, restarts


@dataclass(slots=True)
class Segments:
    """The decoder's part of a JPEG, and what its metadata says.

    `components` is 0 before a frame header was met; `scans` counts the scans, `ended` tells whether
    the end marker was there.
    """

    pieces: list[memoryview] = field(default_factory=list)
    width: int = 0
    height: int = 0
    components: int = 0
    scans: int = 0
    ended: bool = False
    exif: bytes = b""
    icc: dict[int, bytes] = field(default_factory=dict)


def scan(data: bytes, name: str) -> Container:
    """The first image of a JPEG file, whatever stands behind it (a film, a second image)."""
    found = walk(data, name)
    if not found.components:
        raise ValueError("no frame header")
    check_size(found.width, found.height, name)
    if found.scans > MAX_SCANS:
        raise ImageError("image_scans", name=name, most=MAX_SCANS)
    if found.scans > 1:
        most = min(MAX_COEFFICIENTS // (2 * found.components), MAX_WORK // found.scans)
        check_size(found.width, found.height, name, min(MAX_PIXELS, most))
    elif not found.scans:
        raise ValueError("no scan")
    icc = b"".join(found.icc[part] for part in sorted(found.icc))[:MAX_PROFILE]
    return Container("JPEG", b"".join(found.pieces), exif_orientation(found.exif), icc)


def walk(data: bytes | memoryview, name: str) -> Segments:
    """Walk the markers of one JPEG stream from its start to its end marker."""
    view = memoryview(data)
    found = Segments([view[:2]])
    for marker, start, end in _segments(view, name):
        body = bytes(view[start + 4 : end]) if marker != _SOS else b""
        if marker in _SOF and len(body) >= 6:
            found.height, found.width, found.components = struct.unpack_from(">HHB", body, 1)
        colours = body.startswith((b"JFIF\0", b"Adobe")) and marker in (0xE0, 0xEE)
        if colours or marker in _SOF or marker in _TABLES or marker in (_SOS, _EOI):
            found.pieces.append(view[start:end])
        elif marker == 0xE1 and body.startswith(b"Exif\0\0") and not found.exif:
            found.exif = body
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            found.icc.setdefault(body[12], body[14:])  # of at most 255 numbers and 64 kB each
        if marker == _EOI:
            found.ended = True
            break
        if marker == _SOS:
            found.scans += 1
            if found.scans > MAX_SCANS:
                break
    return found


def _segments(view: memoryview, name: str) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment; a scan's entropy-coded data belongs to it."""
    at, marker = 2, 0
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(view, at)
        if not found:
            return
        marker, start = found[1][0], found.end() - 2
        if marker == _EOI or marker in (0x01, 0xD8):
            yield marker, start, start + 2
            at = start + 2
            continue
        if start + 4 > len(view):
            return
        (length,) = struct.unpack_from(">H", view, start + 2)
        at = min(start + 2 + max(length, 2), len(view))
        if marker == _SOS:
            following = _MARKER.search(view, at)
            at = following.start() if following else len(view)
        yield marker, start, at
    raise too_complex(name, "segments", MAX_SEGMENTS)

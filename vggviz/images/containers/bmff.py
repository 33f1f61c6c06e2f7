"""AVIF and HEIC: boxes of the ISO base media file format."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from vggviz.images.containers.container import Container
from vggviz.images.errors import MAX_PIXELS, check_size, too_complex

MAX_BOXES = 10_000
MAX_ITEMS = 1_000

# An item of metadata. Decoders read each of them whole, however many there are.
_METADATA = re.compile(rb"(infe[\x02\x03].{3}.{4}(?:.{2})?)(?:Exif|mime|uri )", re.DOTALL)


def brands(data: bytes) -> frozenset[bytes]:
    """The brands that the file type box names, none where there is no such box."""
    if data[4:8] != b"ftyp":
        return frozenset()
    (size,) = struct.unpack_from(">I", data)
    box = data[8 : max(12, min(size, 1024))]
    return frozenset({box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))})


def scan_avif(data: bytes, name: str) -> Container:
    """An AVIF file without its items of metadata."""
    sequence = b"avis" in brands(data[:4096])
    return Container("AVIF", _without_metadata(data, name), animated=sequence)


def scan_heif(data: bytes, name: str) -> Container:
    """A HEIC file without its items of metadata."""
    return Container("HEIF", _without_metadata(data, name))


def _without_metadata(data: bytes, name: str) -> bytes:
    for kind, start, end in _boxes(data, 0, len(data), name):
        if kind != b"meta":
            continue
        meta = data[start:end]
        if meta.count(b"infe") > MAX_ITEMS:
            raise too_complex(name, "items", MAX_ITEMS)
        for inner, at, stop in _boxes(data, start + 4, end, name):
            if inner == b"iloc" and _extents(data[at:stop]) > len(data):
                raise ValueError("items that overlap")
        for found in re.finditer(b"ispe....(........)", meta, re.DOTALL):
            width, height = struct.unpack(">II", found[1])
            if width * height > MAX_PIXELS:  # also of a tile, which may be larger than the picture
                check_size(width, height, name)
        return b"".join((data[:start], _METADATA.sub(rb"\1skip", meta), data[end:]))
    return data


def _boxes(data: bytes, at: int, end: int, name: str) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the content of each box in data[at:end]."""
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            head, (size,) = 16, struct.unpack_from(">Q", data, at + 8)
        elif size == 0:
            size = end - at
        if size < head:
            raise ValueError("a box that is smaller than its head")
        yield kind, at + head, min(at + size, end)
        at += size
    raise too_complex(name, "boxes", MAX_BOXES)


def _extents(box: bytes) -> int:
    """The bytes of all extents that an item location box names; ISO/IEC 14496-12, 8.11.3."""
    version, sizes = box[0], struct.unpack_from(">H", box, 4)[0]
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide, at = version == 2, 6
    index = index if version else 0
    total, count = 0, int.from_bytes(box[at : at + (4 if wide else 2)], "big")
    at += 4 if wide else 2
    for _ in range(min(count, 65_536)):
        at += (4 if wide else 2) + (2 if version else 0) + 2 + base
        extents = int.from_bytes(box[at : at + 2], "big")
        at += 2
        for _ in range(extents):
            if at > len(box):
                return total
            total += int.from_bytes(box[at + index + offset : at + index + offset + length], "big")
            at += index + offset + length
    return total

"""TIFF: the first directory, reduced to the tags that a decoder needs, all of them checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vggviz.images.containers import jpeg
from vggviz.images.containers.container import MAX_PROFILE, Container
from vggviz.images.errors import (
    MAX_DEEP_COLOUR,
    MAX_PIXELS,
    MAX_SCANS,
    ImageError,
    check_size,
    too_complex,
)

MAX_ENTRIES = 4_096
MAX_STRIPS = 65_536
MAX_STRIP_BYTES = 210 << 20  # decoded: libtiff holds one whole
MAX_SAMPLES = 8
MAX_JPEGS = 16_384

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS = 266, 273, 274, 277, 278
_STRIP_COUNTS, _PLANAR, _PREDICTOR = 279, 284, 317
_COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 320, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _JPEG_TABLES, _ICC = 338, 339, 347, 34675
_YCBCR_COEFFICIENTS, _SUBSAMPLING, _POSITIONING, _REFERENCE = 529, 530, 531, 532

# The most values of each tag that a decoder gets; None: as many as there are strips or tiles.
_COPIED: dict[int, int | None] = {
    **dict.fromkeys((_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES), 1),
    **dict.fromkeys((_ROWS, _PLANAR, _PREDICTOR, _POSITIONING, _TILE_WIDTH, _TILE_HEIGHT), 1),
    **dict.fromkeys((_STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS), None),
    **dict.fromkeys((_BITS, _EXTRA_SAMPLES, _SAMPLE_FORMAT), MAX_SAMPLES),
    **{_COLOURS: 3 << 16, _SUBSAMPLING: 2, _YCBCR_COEFFICIENTS: 3, _REFERENCE: 6},
    _JPEG_TABLES: 1 << 16,
}
_READ = {_ORIENTATION: 1, _ICC: MAX_PROFILE}  # here only
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_SIZES = {1: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8}  # bytes of a value, by its type
_TYPES = {_YCBCR_COEFFICIENTS: (5,), _REFERENCE: (5,), _JPEG_TABLES: (1, 7), _ICC: (1, 7)}
# Uncompressed, LZW, JPEG, Deflate, PackBits, Deflate's old number, Zstandard. Not fax: of rows that
# a strip leaves out libtiff says nothing, and Pillow shows what its unset buffer held before.
_RAW, _JPEG = 1, 7
_COMPRESSIONS = frozenset({_RAW, 5, _JPEG, 8, 32773, 32946, 50000})


@dataclass(frozen=True, slots=True)
class _Entry:
    type: int
    count: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Layout:
    """Strips, or a grid of tiles, of `width` x `height` pixels: where each lies in the file, its
    bytes, and the rows that it must have (the last strip may be shorter)."""

    width: int
    height: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    rows: tuple[int, ...]


def scan(data: bytes, name: str) -> Container:
    """The first picture of a TIFF or BigTIFF file. Raises ImageError for a compression that isn't
    opened here, ValueError for pixels that do not all stand in the file."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    entries = _directory(data, order, big, name)
    values = {tag: _integers(e, order) for tag, e in entries.items() if e.type in _INTEGERS}

    def value(tag: int, default: int) -> int:
        return values.get(tag, (default,))[0]

    check_size(value(_WIDTH, 0), value(_HEIGHT, 0), name)
    compression = value(_COMPRESSION, _RAW)
    if compression not in _COMPRESSIONS:
        raise ImageError("image_tiff_compression", name=name, compression=compression)
    if compression != _RAW and value(_BITS, 1) > 8 and value(_SAMPLES, 1) > 1:
        limit = MAX_DEEP_COLOUR // (2 * value(_SAMPLES, 1))
        check_size(value(_WIDTH, 0), value(_HEIGHT, 0), name, limit)
    layout = _layout(values, compression != _RAW, len(data), name)
    if compression == _JPEG:
        _check_jpeg(data, layout, name)
    turn = value(_ORIENTATION, 1)
    icc = entries[_ICC].raw if _ICC in entries else b""
    most = (1 << value(_BITS, 1)) - 1 if value(_SAMPLE_FORMAT, 1) == 1 else None
    copied = {tag: entry for tag, entry in entries.items() if tag in _COPIED}
    return Container("TIFF", _rewritten(data, copied, order, big), turn, icc, most)


def _directory(data: bytes, order: str, big: bool, name: str) -> dict[int, _Entry]:
    """The entries of the first directory that are used, each with its bytes; of two the first."""
    long, short = (f"{order}Q", f"{order}Q") if big else (f"{order}I", f"{order}H")
    (start,) = struct.unpack_from(long, data, 8 if big else 4)
    (count,) = struct.unpack_from(short, data, start)
    if count > MAX_ENTRIES:
        raise too_complex(name, "entries", MAX_ENTRIES)
    size, inline, first = (20, 8, start + 8) if big else (12, 4, start + 2)
    entries: dict[int, _Entry] = {}
    for at in range(first, first + count * size, size):
        tag, type_, number = struct.unpack_from(f"{order}HH{long[1]}", data, at)
        if tag in entries or type_ not in _TYPES.get(tag, _INTEGERS) or tag not in _COPIED | _READ:
            continue
        most = (_COPIED | _READ)[tag]
        if most is None:
            most = MAX_STRIPS
            if number > MAX_STRIPS:
                raise too_complex(name, "strips", MAX_STRIPS)
        length = min(number, most) * _SIZES[type_]
        where = at + size - inline
        if number * _SIZES[type_] > inline:
            (where,) = struct.unpack_from(long, data, where)
        raw = data[where : where + length]
        if not length or len(raw) < length:
            raise ValueError(f"tag {tag} lies outside the file")
        entries[tag] = _Entry(type_, min(number, most), raw)
    return entries


def _integers(entry: _Entry, order: str) -> tuple[int, ...]:
    return struct.unpack(f"{order}{entry.count}{_INTEGERS[entry.type]}", entry.raw)


def _layout(values: dict[int, tuple[int, ...]], packed: bool, size: int, name: str) -> _Layout:
    """The grid of strips or tiles, whose number and size are bounded."""

    def value(tag: int, default: int) -> int:
        return values.get(tag, (default,))[0]

    image_width, image_height, samples = value(_WIDTH, 0), value(_HEIGHT, 0), value(_SAMPLES, 1)
    if not 1 <= samples <= MAX_SAMPLES:
        raise ValueError("too many samples a pixel")
    strips = _TILE_OFFSETS not in values
    if strips:
        width, height = image_width, min(value(_ROWS, image_height), image_height)
    else:
        width, height = value(_TILE_WIDTH, 0), value(_TILE_HEIGHT, 0)
    if not (width and height):
        raise ValueError("tiles without a size")
    planes = samples if value(_PLANAR, 1) == 2 else 1
    across, down = -(-image_width // width), -(-image_height // height)
    count = across * down * planes
    row = -(-width * max(values.get(_BITS, (1,))) * samples // (8 * planes))
    if count > MAX_STRIPS:
        raise too_complex(name, "strips", MAX_STRIPS)
    too_large = packed and row * height > MAX_STRIP_BYTES
    if too_large or width * height > MAX_PIXELS or across * down * width * height > 2 * MAX_PIXELS:
        kind = "strips" if strips else "tiles"
        most = MAX_PIXELS // 1_000_000
        raise ImageError("image_part_pixels", name=name, parts=kind, most=most)
    offsets = values[_STRIP_OFFSETS if strips else _TILE_OFFSETS]
    counts = values.get(_STRIP_COUNTS if strips else _TILE_COUNTS, ())
    if len(offsets) < count or (packed and (len(counts) < count or sum(counts[:count]) > size)):
        raise ValueError("strips that are not in the file")
    rows = [min(height, image_height - at * height) if strips else height for at in range(down)]
    every = tuple(rows[index % down] for index in range(count))
    return _Layout(width, height, offsets[:count], counts[:count], every)


def _check_jpeg(data: bytes, layout: _Layout, name: str) -> None:
    """Raise ValueError unless each strip or tile is a JPEG of its size, with its end: rows that one
    leaves out would show what the decoder's memory held before."""
    if len(layout.offsets) > MAX_JPEGS:
        raise too_complex(name, "strips", MAX_JPEGS)
    view, scans = memoryview(data), 0
    for offset, count, rows in zip(layout.offsets, layout.counts, layout.rows, strict=True):
        found = jpeg.walk(view[offset : offset + count], name)
        complete = found.ended and found.scans and found.width == layout.width
        if not complete or found.height < rows:
            raise ValueError("a JPEG that does not fill its strip")
        scans += found.scans
        if scans * layout.width * layout.height > jpeg.MAX_WORK:
            raise too_complex(name, "scans", MAX_SCANS)


def _rewritten(data: bytes, entries: dict[int, _Entry], order: str, big: bool) -> bytes:
    """The file with these entries alone, in a directory behind its end."""
    long, short, inline = ("Q", "Q", 8) if big else ("I", "H", 4)
    head, values, at = 8 if big else 4, b"", len(data)
    directory = struct.pack(f"{order}{short}", len(entries))
    for tag, entry in sorted(entries.items()):
        directory += struct.pack(f"{order}HH{long}", tag, entry.type, entry.count)
        if len(entry.raw) <= inline:
            directory += entry.raw.ljust(inline, b"\0")
        else:
            directory += struct.pack(f"{order}{long}", at + len(values))
            values += entry.raw + b"\0" * (len(entry.raw) % 2)
    start = struct.pack(f"{order}{long}", at + len(values))
    rest = memoryview(data)[head + inline :]
    return b"".join((data[:head], start, rest, values, directory, bytes(inline)))

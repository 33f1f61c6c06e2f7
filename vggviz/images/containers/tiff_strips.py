"""TIFF: strips and tiles whose coding can end before their last row.

libtiff says nothing of the rows that a fax-coded strip, or a JPEG lower than its strip, leaves out,
and Pillow shows what its unset buffer holds there: whatever lay in that memory before.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from vggviz.images.containers import jpeg
from vggviz.images.errors import MAX_SCANS, too_complex

MAX_JPEGS = 16_384
MAX_CHECKED = 80_000_000  # pixels of one picture: below what Pillow takes for a bomb

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Layout:
    """How pixels lie in a file: strips, or a grid of tiles, of `width` x `height` pixels.

    `down` counts them from top to bottom; `offsets` and `counts` are where each lies in the file
    and its bytes.
    """

    width: int
    height: int
    down: int
    image_height: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    strips: bool

    def rows(self, index: int) -> int:
        """The rows of one strip or tile: the last strip may be shorter."""
        if not self.strips:
            return self.height
        return min(self.height, self.image_height - index % self.down * self.height)


def check_jpeg(data: bytes, layout: Layout, name: str) -> None:
    """Raise ValueError unless each strip or tile is a JPEG of its size, with its end."""
    if len(layout.offsets) > MAX_JPEGS:
        raise too_complex(name, "strips", MAX_JPEGS)
    view, scans = memoryview(data), 0
    for index, (offset, count) in enumerate(zip(layout.offsets, layout.counts, strict=True)):
        found = jpeg.walk(view[offset : offset + count], name)
        whole = found.ended and found.scans and found.width == layout.width
        if not whole or found.height < layout.rows(index):
            raise ValueError("a JPEG that does not fill its strip")
        scans += found.scans
        if scans * layout.width * layout.height > jpeg.MAX_WORK:
            raise too_complex(name, "scans", MAX_SCANS)


def check_fax(
    data: bytes, layout: Layout, compression: int, options: Mapping[int, int], reverse: bool
) -> None:
    """Raise ValueError unless each strip or tile codes all of its rows.

    libtiff decodes each of them into one buffer, once after a white strip and once after a black
    one: what it leaves out differs.
    """
    by_rows: dict[int, list[bytes]] = {}
    for index, (offset, count) in enumerate(zip(layout.offsets, layout.counts, strict=True)):
        coded = data[offset : offset + count]
        coded = coded.translate(_REVERSED) if reverse else coded
        by_rows.setdefault(layout.rows(index), []).append(coded)
    for rows, strips in by_rows.items():
        step = MAX_CHECKED // (2 * rows * layout.width)
        if not step:
            raise ValueError("a strip that is too large to be checked")
        blank = [_blank(layout.width, rows, compression, options, colour) for colour in (0, 1)]
        for first in range(0, len(strips), step):
            some = strips[first : first + step]
            seen = []
            for colour in (0, 1):
                both = [part for strip in some for part in (blank[colour], strip)]
                file = _tiff(layout.width, rows, both, compression, options)
                with Image.open(io.BytesIO(file), formats=("TIFF",)) as image:
                    seen.append(image.tobytes())  # one bit a pixel, whole bytes a row
            size = -(-layout.width // 8) * rows
            for at in range(0, 2 * size * len(some), 2 * size):
                white, black = (pixels[at : at + size] for pixels in seen)
                if white == black or any(len(set(pixels)) > 2 for pixels in (white, black)):
                    raise ValueError("a coding that can't be checked")
                if seen[0][at + size : at + 2 * size] != seen[1][at + size : at + 2 * size]:
                    raise ValueError("a strip that ends before its last row")


def _blank(
    width: int, rows: int, compression: int, options: Mapping[int, int], colour: int
) -> bytes:
    """A strip of one colour in the same coding."""
    file = io.BytesIO()
    coding = {2: "tiff_ccitt", 3: "group3", 4: "group4"}[compression]
    image = Image.new("1", (width, rows), colour)
    image.save(file, "TIFF", compression=coding, strip_size=1 << 30, tiffinfo=dict(options))
    with Image.open(file, formats=("TIFF",)) as written:
        tags = written.tag_v2  # type: ignore[attr-defined]
        (offset,), (count,) = tags[273], tags[279]
    return file.getvalue()[offset : offset + count]


def _tiff(
    width: int, rows: int, strips: list[bytes], compression: int, options: Mapping[int, int]
) -> bytes:
    """A one-bit TIFF of these strips."""
    counts = [len(strip) for strip in strips]
    start = 8 + 2 + 12 * (9 + len(options)) + 4
    arrays, first = start, start + 8 * len(strips)
    offsets = [first]
    for count in counts[:-1]:
        offsets.append(offsets[-1] + count)
    tags = {256: width, 257: rows * len(strips), 258: 1, 259: compression, 262: 1, 277: 1}
    tags |= {278: rows, **options}
    entries = {tag: (1, value) for tag, value in tags.items()}
    entries |= {273: (len(strips), arrays), 279: (len(strips), arrays + 4 * len(strips))}
    directory = struct.pack("<H", len(entries))
    for tag, (number, value) in sorted(entries.items()):
        directory += struct.pack("<HHII", tag, 4, number, value)
    tables = struct.pack(f"<{len(strips)}I", *offsets) + struct.pack(f"<{len(strips)}I", *counts)
    return b"".join((b"II*\0\x08\0\0\0", directory, bytes(4), tables, *strips))

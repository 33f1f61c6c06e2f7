"""Headers that lie and bombs, byte by byte; and what a hostile file is."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from PIL import Image

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


class Hostile(NamedTuple):
    """A file, and what is right: 'picture', 'refused', or '' where either will do."""

    name: str
    content: bytes
    right: str = ""


def encode(image: Image.Image, kind: str, **how: Any) -> bytes:
    """The picture in this format."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, data: bytes, *extra: bytes) -> bytes:
    """A PNG chunk by chunk; `data` as IDAT holds it, `extra` = chunks before it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [b"IHDR" + header, *extra, b"IDAT" + data, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, chunks))


def _chunk(content: bytes) -> bytes:
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def tiff(data: bytes, tags: dict[int, int | str], following: int = 0) -> bytes:
    """A little-endian TIFF: a tag's value is a number, 'DATA' (where it lies) or 'LENGTH'."""
    offset = 8 + 2 + 12 * len(tags) + 4
    known = {"DATA": offset, "LENGTH": len(data)}
    body = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for key, value in sorted(tags.items()):
        body += struct.pack("<HHII", key, 4, 1, known[value] if isinstance(value, str) else value)
    return body + struct.pack("<I", following) + data


def _grey(width: int, height: int, **more: int | str) -> dict[int, int | str]:
    tags: dict[int, int | str] = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: "DATA"}
    tags |= {277: 1, 278: height, 279: "LENGTH"}
    return tags | {int(key[1:]): value for key, value in more.items()}


def _patched(kind: str, width: int, height: int) -> bytes:
    """A file of 16 x 16 pixels whose header says another size."""
    if kind == "PNG":
        return png(width, height, 8, 2, zlib.compress(bytes(16 * 49)))
    if kind == "TIFF":
        return tiff(bytes(256), _grey(width, height))
    how = {"lossless": True} if kind == "WEBP" else {}
    data = bytearray(encode(Image.new("P" if kind == "GIF" else "RGB", (16, 16)), kind, **how))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5  # SOF0: length, precision, then height and width
        struct.pack_into(">HH", data, at, height & 0xFFFF, width & 0xFFFF)
    elif kind == "GIF":
        struct.pack_into("<HH", data, 6, width & 0xFFFF, height & 0xFFFF)
    elif kind == "BMP":
        struct.pack_into("<ii", data, 18, width, height)
    else:  # VP8L: 14 bits of width - 1, 14 of height - 1
        (bits,) = struct.unpack_from("<I", data, 21)
        sides = ((width - 1) & 0x3FFF) | ((height - 1) & 0x3FFF) << 14
        struct.pack_into("<I", data, 21, bits & ~0xFFFFFFF | sides)
    return bytes(data)


def sides() -> Iterator[Hostile]:
    """Sides of zero, of a few pixels, and of too many."""
    for kind in KINDS:
        ending = kind.lower()
        for width, height in ((0, 16), (16, 0), (0, 0)):
            lying = _patched(kind, width, height)
            # WebP can't say zero, so that it says 16384; a GIF's frame has a size of its own.
            right = "" if kind in ("WEBP", "GIF") else "refused"
            yield Hostile(f"sides-{width}-and-{height}.{ending}", lying, right)
        for side in (15_000, 16_383, 65_535):
            right = "" if kind == "WEBP" and side > 16_383 else "refused"
            yield Hostile(f"sides-of-{side}.{ending}", _patched(kind, side, side), right)
        tiny = encode(Image.new("RGB", (3, 3)), kind)
        yield Hostile(f"three-pixels.{ending}", tiny, "refused")
    yield Hostile("sides-negative.bmp", _patched("BMP", -16, 16), "refused")
    yield Hostile("sides-of-two-billion.bmp", _patched("BMP", 2**31 - 1, 2**31 - 1), "refused")
    yield Hostile("sides-of-two-billion.png", _patched("PNG", 2**31 - 1, 2**31 - 1), "refused")
    yield Hostile("sides-of-four-billion.tiff", _patched("TIFF", 2**32 - 1, 2**32 - 1), "refused")
    yield Hostile("one-row-of-two-billion.png", _patched("PNG", 2**31 - 1, 1), "refused")


def zeros(size: int) -> bytes:
    """So many zeros, deflated."""
    deflate, block = zlib.compressobj(1), bytes(1 << 20)
    data = [deflate.compress(block) for _ in range(size >> 20)]
    return b"".join(data) + deflate.compress(block[: size % len(block)]) + deflate.flush()


def scans(image: Image.Image, count: int) -> bytes:
    """A progressive JPEG whose last scan comes `count` times: little to read, much to decode."""
    data = encode(image, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def directory(entries: int, size: int) -> bytes:
    """A TIFF whose further entries all have `size` bytes of values, the same ones."""
    tags = {tag: (4, 1, value) for tag, value in _grey(32, 32).items() if isinstance(value, int)}
    tags |= dict.fromkeys(range(40_000, 40_000 + entries), (7, size, 8))
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags |= {273: (4, 1, start), 279: (4, 1, 1024)}
    body = b"II*\0" + struct.pack("<IH", 8, len(tags))
    body += b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    return (body + bytes(4) + b"\x80" * 1024).ljust(size + 8, b"\0")


def _many_parts() -> Iterator[Hostile]:
    """Little to read, over and over: entries, strips, chunks, blocks and segments."""
    image = Image.new("RGB", (32, 32), "teal")
    many = directory(2000, 1 << 20)
    yield Hostile("many-values.tiff", many, "picture")
    aliased = directory(4000, 200_000)
    for kind in ("PNG", "WEBP", "AVIF"):
        told = encode(image, kind, exif=b"Exif\0\0" + aliased) if kind != "AVIF" else b""
        if told:
            yield Hostile(f"many-values-in-exif.{kind.lower()}", told, "picture")
    plain = encode(image, "JPEG")
    exif = b"Exif\0\0" + directory(2500, 60_000)[:65_000]
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    yield Hostile("many-values-in-exif.jpeg", plain[:2] + segment + plain[2:], "picture")
    tags = _grey(32, 32, t322=1, t323=40_000)
    text = bytearray(tiff(bytes(1024) + b"A" * 50_000, tags))
    at = 8 + 2 + 12 * sorted(tags).index(322)
    start = 8 + 2 + 12 * len(tags) + 4 + 1024
    for type_ in (2, 7):  # text, or bytes, that Pillow would multiply
        struct.pack_into("<HHII", text, at, 322, type_, 50_000, start)
        yield Hostile(f"width-of-a-tile-as-type-{type_}.tiff", bytes(text), "picture")
    for count in (60_000, 1_000_000):
        strips = _grey(32, max(32, count), t278=1)
        file = bytearray(tiff(bytes(4 * count), strips))
        for tag in (273, 279):
            at = 8 + 2 + 12 * sorted(strips).index(tag)
            struct.pack_into("<HHI", file, at, tag, 4, count)
        yield Hostile(f"strips-{count}.tiff", bytes(file))
    yield Hostile("segments-6000000.jpeg", plain[:2] + b"\xff\xfe\0\2" * 6_000_000 + plain[2:])
    yield Hostile("fill-bytes.jpeg", plain[:2] + b"\xff" * 24_000_000 + plain[2:], "picture")
    stuffed = plain[:-2] + b"\xff\0" * 12_000_000 + plain[-2:]
    yield Hostile("stuffed-bytes.jpeg", stuffed)
    yield Hostile("film-behind.jpeg", plain + b"\xff\xda" * 4_000_000, "picture")
    whole = encode(image, "PNG")
    yield Hostile("chunks-2000000.png", whole[:33] + _chunk(b"teSt") * 2_000_000 + whole[33:])
    yield Hostile("idat-2000000.png", whole[:33] + _chunk(b"IDAT") * 2_000_000 + whole[33:])
    webp = encode(image, "WEBP")
    yield Hostile("chunks-3000000.webp", webp + b"JUNK\0\0\0\0" * 3_000_000)
    gif = encode(image.convert("P"), "GIF")
    yield Hostile("sub-blocks-12000000.gif", gif[:-2] + b"\1\xff" * 12_000_000 + gif[-2:])
    runs = bytearray(encode(Image.new("P", (7000, 7000)), "BMP")[:1078])
    struct.pack_into("<I", runs, 30, 1)
    yield Hostile("runs-12000000.bmp", bytes(runs) + b"\1\1" * 12_000_000, "refused")


def bombs() -> Iterator[Hostile]:
    """Small files that become large, or take long."""
    side = 7000  # 49 megapixels: within the limit, so that these must be decoded
    rows = zeros(side * (side + 1))
    yield Hostile("large-49-megapixels.grey.png", png(side, side, 8, 0, rows), "picture")
    yield Hostile(
        "large-49-megapixels.rgba.png",
        png(side, side, 8, 6, zeros(side * (4 * side + 1))),
        "picture",
    )
    flat = encode(Image.new("RGB", (side, side), "teal"), "JPEG")
    yield Hostile("large-49-megapixels.jpeg", flat, "picture")
    yield Hostile(
        "bomb-900-megapixels.png", png(30_000, 30_000, 1, 0, zeros(30_000 * 3751)), "refused"
    )
    yield Hostile("bomb-more-rows-than-it-says.png", png(32, 32, 8, 0, zeros(200 << 20)), "picture")
    text = b"zTXtnote\0\0" + zeros(200 << 20)
    yield Hostile("bomb-200-megabytes-of-text.png", png(32, 32, 8, 0, zeros(32 * 33), text))
    profile = b"iCCPnote\0\0" + zeros(200 << 20)
    yield Hostile("bomb-200-megabytes-of-profile.png", png(32, 32, 8, 0, zeros(32 * 33), profile))
    chunks = [b"teSt"] * 100_000
    yield Hostile("bomb-100000-chunks.png", png(32, 32, 8, 0, zeros(32 * 33), *chunks))
    tile = 7168
    tags = _grey(16, 16, t259=8, t322=tile, t323=tile, t324="DATA", t325="LENGTH")
    tags = {key: value for key, value in tags.items() if key not in (273, 278, 279)}
    yield Hostile("bomb-one-tile-of-51-megapixels.tiff", tiff(zeros(tile * tile), tags), "refused")
    more = _grey(32, 32, t259=8)
    yield Hostile("bomb-200-megabytes-in-one-strip.tiff", tiff(zeros(200 << 20), more))
    yield Hostile("directory-that-follows-itself.tiff", tiff(bytes(1024), _grey(32, 32), 8))
    yield Hostile(
        "rows-a-strip-of-four-billion.tiff", tiff(bytes(1024), _grey(32, 32, t278=2**32 - 1))
    )
    many = {**_grey(32, 32), 277: 65_535}
    yield Hostile("samples-65535-a-pixel.tiff", tiff(bytes(1024), many), "refused")
    yield Hostile("bomb-3000-scans.jpeg", scans(Image.new("RGB", (2000, 2000)), 3000), "refused")
    still = Image.new("P", (32, 32))
    frames = [Image.new("P", (32, 32), turn % 256) for turn in range(500)]
    gif = encode(still, "GIF", save_all=True, append_images=frames, duration=20, loop=0)
    yield Hostile("animated-500-frames.gif", gif, "picture")
    wide = bytearray(gif)
    struct.pack_into("<HH", wide, 6, 7000, 7000)
    yield Hostile("bomb-500-frames-on-49-megapixels.gif", bytes(wide), "picture")
    colours = [frame.convert("RGB") for frame in frames[:60]]
    for kind in ("WEBP", "PNG"):
        moving = encode(colours[0], kind, save_all=True, append_images=colours[1:], duration=20)
        yield Hostile(f"animated-60-frames.{kind.lower()}", moving, "picture")
    head = 13 + 3 * 2 ** ((gif[10] & 7) + 1) if gif[10] & 0x80 else 13
    for count in (100_000, 800_000, 4_000_000):
        blocks = b"!\xfe\x01x\0" * count
        yield Hostile(f"bomb-{count}-comments.gif", gif[:head] + blocks + gif[head:])
    yield from _many_parts()
    pages = encode(still, "TIFF", save_all=True, append_images=frames[:100])
    yield Hostile("pages-100.tiff", pages, "picture")
    runs = bytearray(b"\1\1") * 20_000  # runs of one pixel each
    rle = bytearray(encode(Image.new("P", (100, 200)), "BMP"))
    start = struct.unpack_from("<I", rle, 10)[0]
    struct.pack_into("<I", rle, 30, 1)
    yield Hostile("runs-of-one.bmp", bytes(rle[:start] + runs + b"\0\1"))

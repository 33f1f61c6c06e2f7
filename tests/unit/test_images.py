"""Pictures in: every input is made here, every expected number is worked out by hand."""

from __future__ import annotations

import io
import json
import math
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import pytest
import torch
from pictures import encode, noise, pixels, refusal
from PIL import GifImagePlugin, Image, ImageCms, ImageFile
from torchvision.models import VGG19_Weights
from torchvision.transforms._presets import ImageClassification
from torchvision.transforms.functional import InterpolationMode

from vggviz.images import (
    MAX_PIXELS,
    Crop,
    ImageError,
    Preprocess,
    image_extensions,
    open_image,
)
from vggviz.images.isolated import shared_decoder


def photo(width: int, height: int) -> Image.Image:
    """Smooth structure at several scales plus noise: what a resampler could get wrong shows."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = np.stack([np.sin(40 * x + 9 * y), np.cos(25 * y), np.sin(70 * x * y)], axis=-1)
    grain = np.random.default_rng(width * height).normal(0, 20, (height, width, 3))
    return Image.fromarray((127 + 90 * waves + grain).clip(0, 255).astype(np.uint8))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG chunk by chunk; `rows` with their filter bytes, `extra` = chunks before the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join(chunk(e[:4], e[4:]) for e in extra) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def tiff(data: bytes, **tags: int) -> bytes:
    """A little-endian TIFF of one strip or tile; tags as t256=…, DATA and LENGTH filled in."""
    offset = 8 + 2 + 12 * len(tags) + 4
    body = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for key, value in sorted(tags.items()):
        number = {"DATA": offset, "LENGTH": len(data)}.get(str(value), value)
        body += struct.pack("<HHII", int(key[1:]), 4, 1, number)
    return body + struct.pack("<I", 0) + data


def strip(data: bytes, bits: int, white_is_zero: bool = False) -> bytes:
    """A 16 x 16 grey TIFF, uncompressed."""
    names = {"t256": 16, "t257": 16, "t258": bits, "t259": 1, "t262": int(not white_is_zero)}
    return tiff(data, **names, t273="DATA", t277=1, t278=16, t279="LENGTH")  # type: ignore[arg-type]


def bmp_header(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head


def jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    start = data.index(b"\xff\xc0") + 5  # SOF0: length, precision, then height and width
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def gif_header(width: int, height: int) -> bytes:
    data = bytearray(encode(Image.new("P", (16, 16)), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def webp_header(width: int, height: int) -> bytes:
    data = bytearray(encode(Image.new("RGB", (16, 16)), "WEBP", lossless=True))
    (bits,) = struct.unpack_from("<I", data, 21)  # VP8L: 14 bits of width - 1, 14 of height - 1
    struct.pack_into("<I", data, 21, bits & ~0xFFFFFFF | (width - 1) | (height - 1) << 14)
    return bytes(data)


def tiff_header(width: int, height: int) -> bytes:
    names = {"t256": width, "t257": height, "t258": 8, "t259": 1, "t262": 1, "t277": 1}
    return tiff(b"\0" * 64, **names, t273="DATA", t278=height, t279="LENGTH")  # type: ignore[arg-type]


def png_header(width: int, height: int) -> bytes:
    return png(width, height, 8, 2, b"\0" * 64)


HEADERS: dict[str, Callable[[int, int], bytes]] = {
    "png": png_header,
    "jpeg": jpeg_header,
    "gif": gif_header,
    "bmp": bmp_header,
    "webp": webp_header,
    "tiff": tiff_header,
}


# ---------------------------------------------------------------- formats and colour modes


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind: str) -> None:
    array = noise(23, 17)
    options = {"lossless": True} if kind == "WEBP" else {}
    assert (pixels(encode(Image.fromarray(array), kind, **options)) == array).all()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(compression: str, tmp_path: Path) -> None:
    array = noise(23, 17)
    path = tmp_path / "scan.tif"
    Image.fromarray(array).save(path, compression=compression)
    assert (pixels(path) == array).all()
    assert (pixels(path.read_bytes()) == array).all()


def test_jpeg_agrees_with_another_decoder() -> None:
    data = encode(photo(90, 61), "JPEG", quality=90)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert abs(pixels(data).astype(int) - other).max() <= 3  # builds of libjpeg round differently


def test_every_kind_of_source_gives_the_same_picture(tmp_path: Path) -> None:
    array = noise(31, 20)
    data = encode(Image.fromarray(array), "PNG")
    path = tmp_path / "noise.png"
    path.write_bytes(data)
    lazily_opened = Image.open(path)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        file.seek(11)  # wherever it stands, it is read from the start
        sources = [str(path), path, data, file, raw, io.BytesIO(data), lazily_opened, array]
        assert all((pixels(source) == array).all() for source in sources)
    grey = array[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    assert (pixels(grey) == expected).all()
    assert (pixels(grey[:, :, None]) == expected).all()
    assert (pixels(array[::-1, ::-1]) == array[::-1, ::-1]).all()  # not contiguous


def test_a_stream_that_cannot_seek() -> None:
    array = noise(31, 20)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:
        data = encode(Image.fromarray(array), "PNG")
        with os.fdopen(writing, "wb") as sink:
            feeder = threading.Thread(target=lambda: (sink.write(data), sink.close()))
            feeder.start()
            assert (pixels(source) == array).all()
            feeder.join()


def test_the_callers_picture_stays_as_it_is() -> None:
    image = Image.fromarray(noise(20, 20, 4))
    image.info["note"] = "mine"
    before = image.tobytes()
    result = open_image(image)
    assert (image.mode, image.info, image.tobytes()) == ("RGBA", {"note": "mine"}, before)
    rgb = Image.fromarray(noise(20, 20))
    copy = open_image(rgb)
    copy.putpixel((0, 0), (1, 2, 3))
    assert copy is not rgb
    assert rgb.getpixel((0, 0)) == tuple(noise(20, 20)[0, 0])
    assert open_image(result).tobytes() == result.tobytes()


def test_greyscale_and_one_bit() -> None:
    grey = noise(16, 16, 1)[:, :, 0]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    for kind in ("PNG", "BMP", "TIFF"):
        assert (pixels(encode(Image.fromarray(grey), kind)) == expected).all()
    bits = Image.fromarray(grey).point(lambda v: 255 * (v > 99), mode="1")
    black_or_white = np.where(expected > 99, 255, 0)
    assert (pixels(encode(bits, "PNG")) == black_or_white).all()
    assert (pixels(encode(bits, "TIFF", compression="packbits")) == black_or_white).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_laid_over_white(kind: str) -> None:
    array = noise(16, 16, 4)
    array[0, 0] = (10, 20, 30, 0)  # a colour that hides behind alpha 0
    array[0, 1] = (10, 20, 30, 255)
    array[0, 2] = (10, 20, 30, 51)  # a fifth: 255 - 0.2 · 245 = 206, 208, 210
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    result = pixels(encode(Image.fromarray(array), kind, **options))
    assert result[0, :3].tolist() == [[255, 255, 255], [10, 20, 30], [206, 208, 210]]
    colour, alpha = array[:, :, :3].astype(float), array[:, :, 3:] / 255.0
    assert (result == np.floor(colour * alpha + 255 * (1 - alpha) + 0.5)).all()


def test_grey_with_alpha_and_premultiplied_alpha() -> None:
    array = np.zeros((16, 16, 2), np.uint8)
    array[0, 0], array[0, 1] = (100, 51), (100, 255)  # 255 - 0.2 · 155 = 224
    for image in (Image.fromarray(array), Image.fromarray(array).convert("La")):
        result = pixels(image)
        assert result[0, :3].tolist() == [[224] * 3, [100] * 3, [255] * 3]
    assert pixels(encode(Image.fromarray(array), "PNG"))[0, 0].tolist() == [224] * 3
    half = Image.new("RGBa", (16, 16), (51, 0, 26, 51))  # over white: c + 255 - 51
    assert abs(pixels(half)[3, 3].astype(int) - (255, 204, 230)).max() <= 1


def test_palette_png_with_transparency() -> None:
    image = Image.new("P", (16, 16))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.putdata([0, 1, 2, 3] * 64)
    plain = pixels(encode(image, "PNG"))
    assert plain[0, :4].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]
    one = pixels(encode(image, "PNG", transparency=1))
    assert one[0, :4].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255], [9, 9, 9]]
    steps = pixels(encode(image, "PNG", transparency=bytes([255, 51, 0, 255])))
    assert steps[0, :4].tolist() == [[255, 0, 0], [204, 255, 204], [255, 255, 255], [9, 9, 9]]


def test_grey_png_with_a_transparent_key() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    result = pixels(encode(Image.fromarray(grey), "PNG", transparency=7))[:, :, 0].copy()
    assert result[0, 7] == 255
    result[0, 7] = 7
    assert (result == grey).all()


def test_gif_gives_its_first_frame() -> None:
    frames = [Image.new("P", (20, 16), index) for index in (0, 1)]
    for frame in frames:
        frame.putpalette([250, 10, 20, 0, 90, 0])
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (pixels(data) == (250, 10, 20)).all()
    see_through = encode(frames[0], "GIF", transparency=0)
    assert (pixels(see_through) == 255).all()
    webp = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    moving = encode(webp[0], "WEBP", save_all=True, append_images=webp[1:], lossless=True)
    assert (pixels(moving) == (255, 0, 0)).all()


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_is_marked_as_one(format: str) -> None:
    frames = [Image.fromarray(noise(16, 16, 3, seed)) for seed in (1, 2)]
    moving = encode(frames[0], format, save_all=True, append_images=frames[1:])
    assert open_image(moving).info == {"animated": True}
    assert shared_decoder().open_image(moving).info == {"animated": True}
    assert open_image(encode(frames[0], format)).info == {}


# ---------------------------------------------------------------- deep pictures


def test_sixteen_bit_png_is_shifted_never_clipped() -> None:
    values = (np.arange(256, dtype=np.uint32) * 257).reshape(16, 16)  # 0 … 65535
    values[0, :4], values[1, 0] = (255, 256, 511, 65535), 0
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    data = png(16, 16, 16, 0, rows)
    result = pixels(data)
    assert result[0, :4, 0].tolist() == [0, 1, 1, 255]
    assert (result == (values >> 8)[:, :, None]).all()
    assert open_image(data).info == {}  # all of the range is used: nothing is stretched
    keyed = pixels(png(16, 16, 16, 0, rows, b"tRNS" + struct.pack(">H", 511)))
    assert keyed[0, :4, 0].tolist() == [0, 1, 255, 255]  # 256 has the same upper byte, and stays


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_png_with_colour_or_alpha(colour: int, channels: int) -> None:
    values = noise(16, 16, channels).astype(np.uint16) * 256 + 200
    if channels != 3:
        values[:, :, -1] = 65535
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    grey_or_rgb = (values >> 8)[:, :, :1] if channels == 2 else (values >> 8)[:, :, :3]
    assert (pixels(png(16, 16, 16, colour, rows)) == grey_or_rgb).all()


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
def test_sixteen_bit_modes(mode: str) -> None:
    values = (np.arange(256) * 257).reshape(16, 16)
    kind = {"I;16B": ">u2", "I": "<i4"}.get(mode, "<u2")
    raw = values.astype(kind).tobytes()
    image = Image.frombytes(mode, (16, 16), raw)
    assert (pixels(image) == np.arange(256).reshape(16, 16, 1)).all()


def test_deep_tiff() -> None:
    values = (np.arange(256) * 257).reshape(16, 16).astype("<u2")
    upper = np.arange(256).reshape(16, 16, 1)
    assert (pixels(strip(values.tobytes(), 16)) == upper).all()
    assert (pixels(strip(values.tobytes(), 16, white_is_zero=True)) == 255 - upper).all()
    twelve = b"\xab\xc1\x23" * 128  # two samples in three bytes: 0xabc, 0x123
    assert pixels(strip(twelve, 12), full_range=True)[5, :2, 0].tolist() == [0xAB, 0x12]
    assert pixels(strip(twelve, 12))[5, :2, 0].tolist() == [255, 0]


def test_deep_values_are_stretched_by_the_range_that_is_used() -> None:
    """Twelve bits in sixteen or thirty-two, as detectors give them: floor(256 v / 4096)."""
    values = np.linspace(0, 4095, 256).astype(np.int32).reshape(16, 16)
    expected = (values >> 4)[:, :, None]
    sixteen = Image.fromarray(values.astype(np.uint16))
    files = [encode(sixteen, kind) for kind in ("PNG", "TIFF")]
    files.append(encode(Image.fromarray(values), "TIFF"))
    for file in files:
        assert (pixels(file) == expected).all()
        assert open_image(file).info == {"range": (0.0, 4095.0)}
        assert open_image(open_image(file)).info == {"range": (0.0, 4095.0)}
        dark = open_image(file, full_range=True)
        assert (np.asarray(dark) <= 15).all()
        assert dark.info == {}
    # By hand: (v - 900) * 256 // 1001 of 900, 1400 and 1900, and of Hounsfield units below 0.
    some = np.full((16, 16), 900, np.int32)
    some[0, :3] = (900, 1400, 1900)
    for offset in (0, -1924, 10**6):
        file = encode(Image.fromarray(some + offset), "TIFF")
        assert pixels(file)[0, :3, 0].tolist() == [0, 127, 255]
        assert open_image(file).info == {"range": (900.0 + offset, 1900.0 + offset)}


@pytest.mark.parametrize("kind", ["png", "png-alpha", "tiff", "tiff-deflate"])
def test_dark_colours_of_sixteen_bits_are_stretched(kind: str) -> None:
    values = noise(16, 16).astype(np.uint16) * 16 + 15  # at most 4095
    values[0, 0] = (4095, 0, 2048)
    if kind.startswith("png"):
        alpha = [np.full((16, 16), 65535, np.uint16)] if "alpha" in kind else []
        wide = np.dstack([values, *alpha])
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
        file = png(16, 16, 16, 6 if alpha else 2, rows)
    else:
        names = {"t256": 16, "t257": 16, "t258": 16, "t259": 1, "t262": 2, "t277": 3, "t278": 16}
        data = values.astype("<u2").tobytes()
        if "deflate" in kind:
            names["t259"], data = 8, zlib.compress(data)
        file = tiff(data, **names, t273="DATA", t279="LENGTH")  # type: ignore[arg-type]
    assert (pixels(file) == values.astype(int) * 256 // 4096).all()
    assert open_image(file).info == {"range": (0.0, 4095.0)}
    assert (pixels(file, full_range=True) == values >> 8).all()


def test_a_deep_picture_of_one_value_is_not_stretched() -> None:
    for value, grey in ((0, 0), (513, 2), (65535, 255)):
        image = encode(Image.fromarray(np.full((16, 16), value, np.uint16)), "TIFF")
        assert (pixels(image) == grey).all()
        assert open_image(image).info == {}
    for value in (65536, -1):
        image = encode(Image.fromarray(np.full((16, 16), value, np.int32)), "TIFF")
        with pytest.raises(ImageError, match=r"outside \[0, \d+\]"):
            open_image(image, full_range=True)


def test_float_tiff_in_the_unit_interval() -> None:
    values = np.zeros((16, 16), np.float32)
    values[0, :4] = (0.2, 0.5, 0.999, 1.0)  # · 255 = 51, 127.5, 254.745, 255
    result = pixels(encode(Image.fromarray(values), "TIFF"))
    assert result[0, :5, 0].tolist() == [51, 128, 255, 255, 0]
    for bad in (np.nan, np.inf, -np.inf):
        values[3, 3] = bad
        assert "not finite" in refusal(encode(Image.fromarray(values), "TIFF"))
    for far in (1.5, -0.1, 200.0):
        values[3, 3] = far
        file = encode(Image.fromarray(values), "TIFF")
        low, high = min(far, 0), max(far, 1)
        expected = np.rint((values - low) / (high - low) * 255)[:, :, None]
        assert abs(pixels(file) - expected).max() <= 1
        assert open_image(file).info["range"] == pytest.approx((low, high))
        with pytest.raises(ImageError, match=r"outside \[0, 1\]"):
            open_image(file, full_range=True)


# ---------------------------------------------------------------- CMYK and colour profiles


def test_cmyk_jpeg_as_adobe_writes_it() -> None:
    inks = Image.new("CMYK", (32, 32), (255, 102, 0, 51))
    data = encode(inks, "JPEG", quality=100)
    assert b"Adobe" in data[:64]  # the marker that stands for inverted ink
    result = pixels(data)
    # (255 - ink)(255 - black) / 255: 0, 153 · 204 / 255 = 122.4, 204
    assert abs(result.astype(int) - (0, 122, 204)).max() <= 2
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert abs(result.astype(int) - other).max() <= 2
    assert abs(pixels(encode(inks, "TIFF")).astype(int) - (0, 122, 204)).max() <= 1


def test_other_colour_modes() -> None:
    grey = Image.new("YCbCr", (16, 16), (80, 128, 128))
    assert (pixels(grey) == 80).all()
    assert (pixels(Image.new("HSV", (16, 16), (0, 255, 255))) == (255, 0, 0)).all()
    assert "Lab" in refusal(encode(Image.new("LAB", (16, 16)), "TIFF"))


def rotated_profile(name: str = "test") -> bytes:
    """An RGB profile whose primaries changed places: its red is blue, its green red."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", srgb, 128)
    where = {bytes(srgb[at : at + 4]): at + 4 for at in range(132, 132 + 12 * count, 12)}
    entries = {tag: bytes(srgb[at : at + 8]) for tag, at in where.items()}
    for tag, other in ((b"rXYZ", b"bXYZ"), (b"gXYZ", b"rXYZ"), (b"bXYZ", b"gXYZ")):
        srgb[where[tag] : where[tag] + 8] = entries[other]
    return bytes(srgb).replace("sRGB".encode("utf-16-be"), name.encode("utf-16-be"))


def icc_profile(space: bytes, kind: bytes, connection: bytes, tag: bytes, body: bytes) -> bytes:
    """A minimal ICC profile (version 2): a name, a white point and one tag of one's own."""
    d50 = struct.pack(">3i", 63190, 65536, 54061)
    text = b"by hand\0"
    name = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 80
    bodies = {b"desc": name, b"wtpt": b"XYZ \0\0\0\0" + d50, tag: body + b"\0" * (-len(body) % 4)}
    table, data, start = b"", b"", 128 + 4 + 12 * len(bodies)
    for key, value in bodies.items():
        table += key + struct.pack(">II", start + len(data), len(value))
        data += value
    head = struct.pack(">I4sI", start + len(data), b"", 0x02100000) + kind + space + connection
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + d50 + b"\0" * 48
    return head + struct.pack(">I", len(bodies)) + table + data


def linear_grey_profile() -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)  # no entries: gamma 1
    return icc_profile(b"GRAY", b"mntr", b"XYZ ", b"kTRC", curve)


def black_only_profile() -> bytes:
    """CMYK in which cyan, magenta and yellow leave no trace: L is 100 without black, 0 with it."""
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    corners = b"".join(bytes([0 if black else 255, 128, 128]) for _ in range(8) for black in (0, 1))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + corners + ramp * 3
    return icc_profile(b"CMYK", b"prtr", b"Lab ", b"A2B0", table)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_rgb_profile_is_converted_to_srgb(kind: str) -> None:
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    options = {"lossless": True} if kind == "WEBP" else {}
    result = pixels(encode(image, kind, icc_profile=rotated_profile(), **options))
    # Its red (200) shines blue, its green (100) red, its blue (50) green.
    assert abs(result.astype(int) - (100, 50, 200)).max() <= 1
    see_through = Image.new("RGBA", (16, 16), (200, 100, 50, 0))
    assert (pixels(encode(see_through, "PNG", icc_profile=rotated_profile())) >= 254).all()


def test_a_grey_profile_is_converted_to_srgb() -> None:
    image = Image.new("L", (16, 16), 55)  # linear 55 / 255 = 0.2157
    result = pixels(encode(image, "PNG", icc_profile=linear_grey_profile()))
    expected = 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)  # sRGB's curve: 128.0
    assert abs(result - expected).max() <= 1.5


def test_a_cmyk_profile_is_converted_to_srgb() -> None:
    inks = Image.new("CMYK", (16, 16), (255, 0, 200, 0))
    inks.paste((0, 0, 0, 255), (0, 0, 16, 8))
    result = pixels(encode(inks, "TIFF", icc_profile=black_only_profile()))
    assert result[0, 0].max() < 20
    assert result[15, 0].min() >= 254  # by Pillow's own formula it would be (0, 255, 55)


def test_profiles_that_change_nothing() -> None:
    array = noise(32, 32)
    image = Image.fromarray(array)
    broken = rotated_profile()[:300]
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    renamed = srgb.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    wrong = (linear_grey_profile(), black_only_profile())
    for profile in (b"not a profile", broken, srgb, renamed, *wrong):
        assert (pixels(encode(image, "PNG", icc_profile=profile)) == array).all()
    grey = encode(Image.fromarray(array[:, :, 0]), "PNG", icc_profile=rotated_profile())
    assert (pixels(grey) == array[:, :, :1]).all()


def display_p3(name: str) -> bytes:
    """A profile of Display P3's primaries (SMPTE EG 432-1, adapted to D50) with sRGB's curve."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    colorants = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for at in range(132, 132 + 12 * count, 12):
        tag, start, _ = struct.unpack_from(">4sII", profile, at)
        if tag in colorants:
            values = (round(65536 * value) for value in colorants[tag])
            struct.pack_into(">3i", profile, start + 8, *values)
    return bytes(profile).replace("sRGB".encode("utf-16-be"), name.encode("utf-16-be"))


def test_a_profile_is_known_by_its_colours_never_by_its_name() -> None:
    """Samsung's P3 profiles have 'sRGB' in their names."""
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    for name in ("sRGB", "D-P3"):
        found = pixels(encode(image, "PNG", icc_profile=display_p3(name))).astype(int)
        # By hand: linear P3 (.5776, .1274, .0319) times the matrix from P3 to sRGB
        # (1.2249, -.2249, 0; -.0420, 1.0420, 0; -.0197, -.0786, 1.0983) is (.679, .108, .0137).
        assert abs(found - (214, 93, 32)).max() <= 2


# ---------------------------------------------------------------- EXIF orientation


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores, by the EXIF table 'row 0 is the visual …, column 0 is the visual …'."""
    height, width = upright.shape[:2]
    sideways = orientation >= 5
    result = np.empty((width, height, 3) if sideways else (height, width, 3), np.uint8)
    for r in range(result.shape[0]):
        for c in range(result.shape[1]):
            y, x = {
                1: (r, c),  # top, left
                2: (r, width - 1 - c),  # top, right
                3: (height - 1 - r, width - 1 - c),  # bottom, right
                4: (height - 1 - r, c),  # bottom, left
                5: (c, r),  # left, top
                6: (c, width - 1 - r),  # right, top
                7: (height - 1 - c, width - 1 - r),  # right, bottom
                8: (height - 1 - c, r),  # left, bottom
            }[orientation]
            result[r, c] = upright[y, x]
    return result


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, kind: str) -> None:
    upright = noise(21, 17)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(stored(upright, orientation)), kind, exif=exif, **options)
    result = open_image(data)
    assert (np.asarray(result) == upright).all()
    assert (pixels(result) == upright).all()  # opened again, it does not turn again


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation_of_a_jpeg(orientation: int) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = (250, 0, 0)  # red top left, blue top right
    upright[:16, 32:] = (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(stored(upright, orientation)), "JPEG", exif=exif, quality=95)
    result = pixels(data).astype(int)
    assert result.shape == (32, 48, 3)
    assert abs(result[8, 8] - (250, 0, 0)).max() < 10
    assert abs(result[8, 40] - (0, 0, 250)).max() < 10


def test_odd_or_broken_exif_is_ignored() -> None:
    array = noise(21, 17)
    for value in (0, 9, 77):
        exif = Image.Exif()
        exif[0x0112] = value
        assert (pixels(encode(Image.fromarray(array), "PNG", exif=exif)) == array).all()
    image = Image.fromarray(array)
    image.info["exif"] = b"Exif\0\0II*\0\xff\xff\xff\x7f rubbish"
    assert (pixels(image) == array).all()


# ---------------------------------------------------------------- endings


def test_the_endings_are_those_of_what_can_be_opened() -> None:
    found = image_extensions()
    assert {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"} <= found
    assert all(ending == ending.lower() and ending.startswith(".") for ending in found)
    assert (".heic" in found) == (find_spec("pillow_heif") is not None)
    assert found.isdisjoint({".psd", ".ico", ".pdf", ".svg", ".jxl", ".dcm", ".jp2", ".dib"})


# ---------------------------------------------------------------- HEIC


def test_heic() -> None:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    known = dict(Image.OPEN)
    array = np.zeros((64, 96, 3), np.uint8)
    array[:, :48], array[:, 48:] = (200, 30, 30), (30, 30, 200)
    stream = io.BytesIO()
    heif.from_pillow(Image.fromarray(array)).save(stream, quality=95)
    result = pixels(stream.getvalue()).astype(int)
    assert result.shape == array.shape
    assert abs(result[10, 10] - (200, 30, 30)).max() < 12
    assert abs(result[10, 80] - (30, 30, 200)).max() < 12
    assert known == Image.OPEN, "Pillow's own table of formats stays as it was"
    assert "damaged" in refusal(stream.getvalue()[:200])


def test_heic_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    header = struct.pack(">I", 24) + b"ftypheic" + b"\0" * 12
    assert refusal(header) == (
        "The picture is HEIC, which isn't opened here: save it as JPEG, "
        "or install vggviz[heic] where this runs."
    )


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "content",
    [
        b"hello, world\n" * 9,
        b"\0",
        bytes(999),
        b"\x7fELF\2\1\1" + bytes(200),
    ],
)
def test_what_is_no_picture(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "upload.png"
    path.write_bytes(content)
    heic = "HEIC, " if find_spec("pillow_heif") else ""
    expected = f"is no picture: expected PNG, JPEG, WebP, AVIF, {heic}GIF, TIFF, BMP, PPM."
    assert refusal(path) == f"upload.png {expected}"
    assert refusal(content) == f"The picture {expected}"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'></svg>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- made -->\n<svg width='9'/>", "SVG"),
        (b"<!doctype html><html><body>404</body></html>", "HTML"),
        (b"PK\x03\x04" + bytes(200), "archive"),
        (b"%PDF-1.7\n" + bytes(200), "PDF"),
        (struct.pack(">I", 24) + b"ftypisom" + bytes(99), "video"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM"),
        (b"8BPS\0\1" + bytes(40), "PSD (Photoshop)"),
        (b"\xff\x0a" + bytes(99), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL"),
        (encode(Image.new("RGB", (32, 32)), "ICO"), "ICO"),
        (encode(Image.new("RGB", (32, 32)), "JPEG2000"), "JPEG 2000"),
        (encode(Image.new("RGB", (32, 32)), "EPS"), "PostScript (EPS)"),
    ],
)
def test_what_is_refused_is_called_by_its_name(content: bytes, kind: str) -> None:
    expected = f"The picture is {kind}, which isn't opened here: save it as PNG or JPEG."
    assert refusal(content) == expected


@pytest.mark.parametrize("maximum", [15, 255, 4095, 65535])
def test_ppm(maximum: int) -> None:
    values = np.random.default_rng(0).integers(0, maximum + 1, (16, 20, 3))
    values[0, 0], values[0, 1] = maximum, 0
    kind = ">u2" if maximum > 255 else "u1"
    head = b"P6\n# made by hand\n20 16 # wide, high\n%d\n" % maximum
    result = pixels(head + values.astype(kind).tobytes())
    assert abs(result - values * 255 / maximum).max() <= 1
    grey = pixels(b"P5 20 16 %d\n" % maximum + values[:, :, 0].astype(kind).tobytes())
    assert abs(grey - values[:, :, :1] * 255 / maximum).max() <= 1
    black = values[:, :, :1] > maximum // 2
    bits = np.packbits(black[:, :, 0], axis=1)
    assert (pixels(b"P4 20 16\n" + bits.tobytes()) == np.where(black, 0, 255)).all()
    assert "text form" in refusal(b"P3 16 16 255\n" + b"9 " * 768)
    assert "truncated" in refusal(head + values.astype(kind).tobytes()[:-9])


def test_avif() -> None:
    array = np.zeros((64, 96, 3), np.uint8)
    array[:, :48], array[:, 48:] = (200, 30, 30), (30, 30, 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = encode(Image.fromarray(array), "AVIF", quality=95, exif=exif)
    result = pixels(file).astype(int)
    assert result.shape == (96, 64, 3)  # turned by a quarter, clockwise: left is up
    assert abs(result[10, 30] - (200, 30, 30)).max() < 12
    assert abs(result[80, 30] - (30, 30, 200)).max() < 12
    assert "damaged" in refusal(file[:200])


def test_messages_name_the_file_and_never_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secret"
    folder.mkdir()
    empty = folder / "empty.png"
    empty.touch()
    assert refusal(empty) == "empty.png is empty."
    assert refusal(b"") == "The picture is empty."
    with empty.open("rb") as file:
        assert refusal(file) == "empty.png is empty."
    assert refusal(folder / "no.png") == "no.png can't be opened: no such file or directory."
    assert refusal(str(folder)) == "secret can't be opened: it is a folder."
    assert refusal(str(folder) + "/") == "secret can't be opened: it is a folder."
    assert refusal("a\0b.png") == "ab.png can't be opened: not a valid path."
    assert refusal("") == "The picture can't be opened: it is a folder."
    assert refusal("C:\\Users\\me\\cat.png").startswith("cat.png can't")
    assert refusal("../x\n\x1b[31m" + "y" * 300).startswith("y" * 80 + " can't")
    lazily_opened = folder / "small.png"
    Image.new("RGB", (9, 9)).save(lazily_opened)
    with Image.open(lazily_opened) as image:
        assert refusal(image).startswith("small.png has 9 x 9 pixels")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert refusal(tmp_path / "pipe.png") == "pipe.png can't be opened: it is no regular file."


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="no file is unreadable to root"
)
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(encode(Image.new("RGB", (16, 16)), "PNG"))
    path.chmod(0)
    assert refusal(path) == "locked.png can't be opened: permission denied."


def test_the_systems_other_reasons(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    below = tmp_path / "file" / "cat.png"
    assert refusal(below) == "cat.png can't be opened: not a directory."
    (tmp_path / "loop.png").symlink_to("loop.png")
    expected = "loop.png can't be opened: too many levels of symbolic links."
    assert refusal(tmp_path / "loop.png") == expected


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(encode(Image.new("RGB", (16, 16)), "PNG"))
    with path.open("rb") as closed:
        pass
    with path.open("ab") as write_only, path.open(encoding="latin-1") as text:
        for source in (closed, write_only, text):
            assert refusal(source).startswith("cat.png can't be read: expected path, bytes, file")
    assert refusal(io.StringIO("text")).startswith("The picture can't be read")
    for source in (None, 7, [[1, 2]], torch.zeros(3, 32, 32)):
        assert refusal(source).startswith("The picture can't be read")


class Unlimited(io.RawIOBase, BinaryIO):
    """A file that claims a length beyond every limit and must never be read whole."""

    def __init__(self, head: bytes) -> None:
        self.head, self.at = head, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (10**10 if whence == os.SEEK_END else 0)
        return self.at

    def read(self, size: int = -1) -> bytes:
        assert 0 <= size < 100, "all of it was asked for"
        return self.head[self.at : self.at + size]


def test_a_file_of_ten_gigabytes() -> None:
    webp = encode(Image.new("RGB", (16, 16)), "WEBP")
    assert refusal(Unlimited(webp)) == "The picture is too large: at most 256 MB can be read."


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_truncated_files(kind: str, part: float, tmp_path: Path) -> None:
    data = encode(Image.fromarray(noise(64, 48)), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * part)])
    for source in (path, path.read_bytes()):
        assert "is truncated or damaged" in refusal(source) or "is no picture" in refusal(source)
    if kind != "TIFF":  # whose directory stands at the end
        assert refusal(path).startswith(f"cut.{kind.lower()} is truncated or damaged")


def test_a_damaged_png() -> None:
    data = bytearray(encode(Image.fromarray(noise(64, 48)), "PNG"))
    data[len(data) // 2] ^= 255
    assert "is truncated or damaged" in refusal(bytes(data))


def test_mutated_files_are_read_or_refused_and_nothing_else() -> None:
    random = np.random.default_rng(1)
    image = Image.fromarray(noise(20, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = [encode(image, kind, exif=exif) for kind in ("PNG", "JPEG", "WEBP", "TIFF")]
    seeds += [encode(image, kind) for kind in ("BMP", "GIF")]
    outcomes = set()
    for turn in range(600):
        data = bytearray(seeds[turn % len(seeds)])
        for at in random.integers(0, min(len(data), random.choice([60, 400, 10**6])), 3):
            data[at] = random.integers(256)
        try:
            outcomes.add(open_image(bytes(data)).mode)
        except ImageError:
            outcomes.add("refused")
    assert outcomes == {"RGB", "refused"}


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("size", [(15, 400), (400, 15), (1, 1)])
def test_a_side_that_is_too_short(size: tuple[int, int]) -> None:
    width, height = size
    expected = f"The picture has {width} x {height} pixels: each side needs at least 16."
    assert refusal(encode(Image.new("RGB", size), "PNG")) == expected
    assert refusal(Image.new("RGB", size)) == expected
    assert refusal(np.zeros((height, width, 3), np.uint8)) == expected


def test_the_bounds_themselves_are_allowed() -> None:
    assert open_image(Image.new("L", (16, 16))).size == (16, 16)
    wide = np.broadcast_to(np.uint8(7), (16, MAX_PIXELS // 16 + 1))
    assert refusal(wide).endswith("at most 50 megapixels can be used.")
    assert open_image(wide[:, :-1]).size == (MAX_PIXELS // 16, 16)


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("size", [(7072, 7072), (10_000, 10_000), (16_000, 16_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels(kind: str, size: tuple[int, int]) -> None:
    most = 30 if kind == "webp" else 50
    assert refusal(HEADERS[kind](*size)).endswith(f"at most {most} megapixels can be used.")


def test_too_many_pixels_where_warnings_are_errors() -> None:
    assert refusal(png_header(10_000, 10_000)).endswith("at most 50 megapixels can be used.")


def test_the_headers_above_are_good_at_a_modest_size() -> None:
    for kind in ("jpeg", "gif", "webp"):  # else the refusals would prove nothing
        assert open_image(HEADERS[kind](640, 480)).size == (640, 480)
    for kind in ("png", "bmp", "tiff"):  # identified, and found short of pixels
        assert "truncated or damaged" in refusal(HEADERS[kind](640, 480))


def tile_bomb(side: int) -> bytes:
    """A TIFF of 16 x 16 pixels within one deflated tile of side² black ones."""
    deflate = zlib.compressobj(1)
    data = b"".join(deflate.compress(bytes(side)) for _ in range(side)) + deflate.flush()
    names = {"t256": 16, "t257": 16, "t258": 8, "t259": 8, "t262": 1, "t277": 1}
    names |= {"t322": side, "t323": side}
    return tiff(data, **names, t324="DATA", t325="LENGTH")  # type: ignore[arg-type]


def test_a_huge_tile_in_a_small_tiff() -> None:
    assert (pixels(tile_bomb(64)) == 0).all()
    assert "tiles with too many pixels" in refusal(tile_bomb(7168))


MEASURE = """
import sys
from pathlib import Path
from vggviz.images import ImageError, open_image

def kilobytes(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))

files = sorted(Path(sys.argv[1]).iterdir())
try:
    open_image(b"x" * 99)  # what is imported at the first call
except ImageError:
    pass
before = kilobytes("VmRSS")
for file in files:
    try:
        open_image(file)
    except ImageError as error:
        print(error)
print(kilobytes("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_refusals_allocate_nothing(tmp_path: Path) -> None:
    for kind, header in HEADERS.items():
        side = 16_383 if kind == "webp" else 20_000  # all that WebP can say
        (tmp_path / f"bomb.{kind}").write_bytes(header(side, side))
    (tmp_path / "bomb.tile.tiff").write_bytes(tile_bomb(7168))
    (tmp_path / "slim.png").write_bytes(png_header(2**31 - 1, 1))
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    *messages, grown = run.stdout.splitlines()
    assert len(messages) == 8
    assert all("pixels" in message for message in messages)
    assert int(grown) < 20_000, f"{grown} kB; one picture of 400 megapixels has 1,600,000"


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    "array",
    [
        np.full((32, 32, 3), np.nan, np.float32),
        np.zeros((32, 32, 3), np.float64),
        np.zeros((32, 32), np.uint16),
        np.zeros((32, 32), bool),
        np.zeros((32, 32, 2), np.uint8),
        np.zeros((3, 32, 32), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros(99, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_wrong_arrays(array: np.ndarray) -> None:
    expected = f"Expected uint8 of shape (H, W[, 1|3|4]), got {array.dtype} {array.shape}."
    assert refusal(array) == expected


def test_an_array_without_pixels() -> None:
    assert "each side" in refusal(np.zeros((0, 40, 3), np.uint8))


def test_an_array_that_must_not_be_copied() -> None:
    terabyte = np.broadcast_to(np.uint8(7), (10**6, 10**6))
    assert "at most 50 megapixels" in refusal(terabyte)


# ---------------------------------------------------------------- no state, many threads


def test_pillows_globals_stay_and_threads_do_not_mix(tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        return (
            Image.MAX_IMAGE_PIXELS,
            ImageFile.LOAD_TRUNCATED_IMAGES,
            GifImagePlugin.LOADING_STRATEGY,
        )

    before = state()
    arrays = [noise(40 + index, 30, seed=index) for index in range(12)]
    files = [encode(Image.fromarray(a), k) for a in arrays for k in ("PNG", "TIFF")]
    files.append(b"rubbish")

    def work(index: int) -> bool:
        at = index % len(files)
        if at == len(files) - 1:
            return refusal(files[at]).startswith("The picture is no picture")
        return bool((pixels(files[at]) == arrays[at // 2]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    assert state() == before


# ---------------------------------------------------------------- what the network sees

SIZES = [
    (224, 224),
    (256, 256),
    (500, 375),
    (375, 500),
    (333, 257),
    (257, 333),
    (1023, 641),
    (100, 73),
    (61, 200),
    (16, 16),
    (17, 16),
    (16, 40),
    (1200, 80),
    (60, 1900),
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_imagenet_equals_torchvision(size: tuple[int, int]) -> None:
    image = photo(*size)
    expected = VGG19_Weights.IMAGENET1K_V1.transforms()(image)
    result = Preprocess()(image)
    assert result.shape == (1, 3, 224, 224)
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    assert torch.allclose(result[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(500, 375), (61, 200), (16, 16)])
def test_other_settings_equal_torchvision(size: tuple[int, int]) -> None:
    mean, std = (0.1, 0.2, 0.3), (1.0, 0.5, 0.25)
    for crop, resize, name in ((64, 73, "bicubic"), (48, 48, "bilinear")):
        theirs = ImageClassification(
            crop_size=crop,
            resize_size=resize,
            mean=mean,
            std=std,
            interpolation=InterpolationMode(name),
        )
        ours = Preprocess(crop, resize, mean, std, name)
        image = photo(*size)
        assert torch.allclose(ours(image)[0], theirs(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 8000), (8000, 16)])
def test_a_slender_picture_is_cut_before_it_is_resized(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = photo(*size)
    theirs = VGG19_Weights.IMAGENET1K_V1.transforms()(image)
    largest = []
    resize = Image.Image.resize

    def watched(self: Image.Image, *args: Any, **kwargs: Any) -> Image.Image:
        result = resize(self, *args, **kwargs)
        largest.append(result.width * result.height)
        return result

    monkeypatch.setattr(Image.Image, "resize", watched)
    ours = Preprocess()(image)[0]
    assert max(largest) == 224 * 224  # torchvision's is 256 x 128000
    assert abs(ours - theirs).max() <= 1.01 / 255 / 0.224  # one grey level, from rounding the box


def test_crop_geometry_by_hand() -> None:
    # 600 x 400 → 384 x 256, scale 25/16; corner ((384-224)/2, (256-224)/2) = (80, 16).
    square, where = Preprocess().crop(photo(600, 400))
    assert square.size == (224, 224)
    assert square.mode == "RGB"
    assert where == Crop(125.0, 25.0, 475.0, 375.0, 600, 400)
    # 100 x 250 at 50 / 50 → 50 x 125: the corner 37.5 rounds to the even 38, so 76 … 176.
    _, where = Preprocess(50, 50).crop(photo(100, 250))
    assert where == Crop(0.0, 76.0, 100.0, 176.0, 100, 250)


@pytest.mark.parametrize("size", [*SIZES, (16, 8000), (8000, 16)])
def test_the_crop_box_is_what_the_network_saw(size: tuple[int, int]) -> None:
    """Paint x and y into the picture: the square must show the box's own coordinates."""
    width, height = size
    ramp_x = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    ramp_y = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    array = np.stack([ramp_x, ramp_y, ramp_x], axis=2).astype(np.uint8)
    square, where = Preprocess().crop(Image.fromarray(array))
    seen = np.asarray(square).astype(float)
    middle_x = (where.left + where.right) / 2 / width * 255
    middle_y = (where.top + where.bottom) / 2 / height * 255
    assert abs(seen[112, 112, 0] - middle_x) < 12
    assert abs(seen[112, 112, 1] - middle_y) < 12
    assert where.left >= 0
    assert where.top >= 0
    assert where.right <= width
    assert where.bottom <= height
    across, down = where.right - where.left, where.bottom - where.top
    assert across == pytest.approx(down, rel=0.01)
    assert across == pytest.approx(min(size) * 224 / 256, rel=0.01)


def test_only_rgb_is_cropped() -> None:
    with pytest.raises(ImageError, match="got L"):
        Preprocess().crop(Image.new("L", (32, 32)))


def test_normalise_by_hand_and_back() -> None:
    settings = Preprocess(size=4, resize=4)
    array = np.zeros((4, 4, 3), np.uint8)
    array[1, 2] = (255, 51, 102)  # 1, 0.2, 0.4
    result = settings.normalise(array)
    assert result.shape == (3, 4, 4)
    expected = [(1 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.4 - 0.406) / 0.225]
    assert result[:, 1, 2].tolist() == pytest.approx(expected, abs=1e-6)
    assert result[:, 0, 0].tolist() == pytest.approx(
        [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    )
    assert (settings.normalise(Image.fromarray(array)) == result).all()
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for batch in (settings.normalise(every), settings.normalise(every)[None]):
        back = settings.denormalise(batch.requires_grad_())
        assert back.dtype == np.uint8
        assert (back == every).all()
    far = torch.tensor([9.0, -9.0, 0.0]).view(3, 1, 1)  # clipped, and 0 is the mean: 103.53
    assert settings.denormalise(far).tolist() == [[[255, 0, 104]]]


def test_normalise_leaves_its_input_alone() -> None:
    array = noise(16, 16)
    before = array.copy()
    Preprocess().normalise(array).zero_()
    assert (array == before).all()


@pytest.mark.parametrize(
    "crop", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), Image.new("RGBA", (8, 8))]
)
def test_normalise_takes_uint8_rgb_alone(crop: Any) -> None:
    with pytest.raises(ImageError, match=r"Expected uint8 \(H, W, 3\)"):
        Preprocess().normalise(crop)


def test_call_takes_any_source() -> None:
    array = noise(40, 30, 4)
    expected = Preprocess()(open_image(array))
    assert (Preprocess()(encode(Image.fromarray(array), "PNG")) == expected).all()


def test_json_round_trip() -> None:
    settings = Preprocess(64, 72, (0.1, 0.2, 1 / 3), (0.5, 0.25, 0.7), "bicubic")
    text = json.dumps(settings.to_json())
    assert Preprocess.from_json(json.loads(text)) == settings
    assert json.loads(text) == settings.to_json()
    assert hash(Preprocess.from_json(json.loads(text))) == hash(settings)
    assert Preprocess.from_json({}) == Preprocess()
    with pytest.raises(TypeError, match="crop_size"):
        Preprocess.from_json({"crop_size": 224})


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": 257},
        {"size": True},
        {"size": 10**6, "resize": 10**6},
        {"size": 32.0, "resize": 32},
        {"mean": (math.nan, 0.5, 0.5)},
        {"std": (math.inf, 1.0, 1.0)},
        {"std": (1e-30, 1.0, 1.0)},
        {"std": (0.0, 1.0, 1.0)},
        {"mean": (0.5,)},
        {"interpolation": "nearest"},
    ],
)
def test_senseless_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Preprocess(**wrong)


# ---------------------------------------------------------------- back on the whole picture


def test_paste_by_hand() -> None:
    # Two by two cells over the box x 1 … 5, y 0 … 4 of a picture 6 wide and 4 high. Cell centres
    # at x = 2, 4 and y = 1, 3; pixel centres at 1.5, 2.5, 3.5, 4.5, so weights 0, 1/4, 3/4, 1.
    values = np.array([[0.0, 4.0], [8.0, 12.0]])
    result = Crop(1, 0, 5, 4, 6, 4).paste(values, fill=-1)
    expected = [
        [-1, 0, 1, 3, 4, -1],
        [-1, 2, 3, 5, 6, -1],
        [-1, 6, 7, 9, 10, -1],
        [-1, 8, 9, 11, 12, -1],
    ]
    assert result.dtype == np.float32
    assert result.tolist() == expected
    assert values.tolist() == [[0, 4], [8, 12]]


def test_paste_between_pixels_and_with_nan() -> None:
    # Pixel centres 0.5, 1.5, 2.5, 3.5; the box 1.4 … 3.5 holds 1.5 and 2.5 alone.
    result = Crop(1.4, 0.0, 3.5, 1.0, 4, 1).paste(np.full((3, 3), 2.0), fill=np.nan)
    assert np.isnan(result).tolist() == [[True, False, False, True]]
    assert result[0, 1:3].tolist() == [2, 2]
    result = Crop(0.6, 0.0, 2.4, 1.0, 4, 1).paste(np.full((3, 3), 2.0), fill=np.nan)
    assert np.isnan(result).tolist() == [[True, False, True, True]]  # 1.5 alone


def test_paste_of_one_cell_and_of_a_map_finer_than_the_picture() -> None:
    assert (Crop(0, 0, 4, 4, 4, 4).paste(np.array([[3.0]])) == 3).all()
    fine = np.broadcast_to(np.arange(8.0), (8, 8))  # pixel centres fall between cells 0, 1; 2, 3 …
    assert Crop(0, 0, 4, 4, 4, 4).paste(fine)[0].tolist() == [0.5, 2.5, 4.5, 6.5]


def test_paste_undoes_the_crop() -> None:
    """A ramp that the network sees lies, pasted, where the original has it."""
    width, height = 600, 400
    ramp = np.broadcast_to(np.linspace(0, 255, width), (height, width)).astype(np.uint8)
    square, where = Preprocess().crop(Image.fromarray(ramp).convert("RGB"))
    back = where.paste(np.asarray(square)[:, :, 0].astype(float), fill=np.nan)
    assert back.shape == (height, width)
    assert np.isnan(back[:25]).all()
    assert np.isnan(back[375:]).all()
    assert np.isnan(back[:, :125]).all()
    assert np.isnan(back[:, 475:]).all()
    assert abs(back[25:375, 125:475] - ramp[25:375, 125:475]).max() < 1.5


def test_paste_wants_two_axes() -> None:
    with pytest.raises(ValueError, match="unpack"):
        Crop(0, 0, 4, 4, 4, 4).paste(np.zeros((1, 4, 4)))


def test_a_tensor_is_told_how_to_become_a_picture_and_arrays_are_rgb() -> None:
    red = torch.zeros(3, 20, 20)
    red[0] = 1
    with pytest.raises(ImageError, match=r"read from a tensor: .* in RGB") as said:
        open_image(red)  # type: ignore[arg-type]
    code = re.search(r"such as (.*\(\)) of", str(said.value))
    assert code is not None
    picture = open_image(eval(code[1], {"tensor": red}))
    assert picture.getpixel((3, 3)) == (255, 0, 0)

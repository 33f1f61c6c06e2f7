"""Hostile files, generated: `corpus` gives them, and `python tests/hostile.py FOLDER` opens and
measures those in a folder, which it fills where it is empty, one JSON object a line.

A name says what the file is. `right` is the outcome where it is certain: 'picture' or 'refused'.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import bombs
import foreign
import numpy as np
from bombs import KINDS, Hostile, encode, png
from PIL import Image, ImageCms

from vggviz.images import ImageError, open_image


def corpus(seed: int = 0) -> list[Hostile]:
    """All files; the same seed gives the same bytes with the same Pillow."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    image = coarse.resize((64, 48), Image.Resampling.BICUBIC)
    made = [
        *_broken(image, random),
        *bombs.sides(),
        *bombs.bombs(),
        *_modes(image),
        *_metadata(image, random),
        *foreign.polyglots(image),
        *foreign.other_formats(image),
        *foreign.no_pictures(random),
        *foreign.names(image),
    ]
    assert len({one.name for one in made}) == len(made), "two files have the same name"
    return made


def _broken(image: Image.Image, random: np.random.Generator) -> Iterator[Hostile]:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in KINDS:
        ending = kind.lower()
        more = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
        whole = encode(image, kind, **more)
        yield Hostile(f"whole.{ending}", whole, "picture")
        for part in (8, 30, 60, 90):
            cut = whole[: len(whole) * part // 100]
            yield Hostile(f"cut-at-{part}-percent.{ending}", cut, "refused")
        yield Hostile(f"doubled.{ending}", whole + whole, "picture")
        for turn in range(10):
            flipped = bytearray(whole)
            reach = (40, 200, len(flipped))[turn % 3]  # headers first
            for at in random.integers(0, min(reach, len(flipped)), 1 + turn % 4):
                flipped[at] ^= 1 << int(random.integers(8))
            yield Hostile(f"flipped-{turn}.{ending}", bytes(flipped))
        holed = bytearray(whole)
        holed[len(whole) // 2 : len(whole) // 2 + 64] = bytes(64)
        yield Hostile(f"with-a-hole.{ending}", bytes(holed))


def _modes(image: Image.Image) -> Iterator[Hostile]:
    right = "picture"
    see_through = image.convert("RGBA")
    see_through.putalpha(image.convert("L"))
    for mode, kinds in {
        "1": ("PNG", "BMP", "TIFF", "GIF"),
        "L": ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP"),
        "LA": ("PNG", "TIFF", "WEBP"),
        "P": ("PNG", "BMP", "TIFF", "GIF"),
        "RGBA": ("PNG", "TIFF", "WEBP", "BMP", "GIF"),
        "CMYK": ("JPEG", "TIFF"),
        "YCbCr": ("JPEG",),
    }.items():
        for kind in kinds:
            source = see_through if "A" in mode else image
            name = f"mode-{mode}.{kind.lower()}"
            yield Hostile(name, encode(source.convert(mode), kind), right)
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
    for key in (0, 255, bytes(range(256))):
        name = "every" if isinstance(key, bytes) else key
        told = encode(palette, "PNG", transparency=key)
        yield Hostile(f"palette-transparent-{name}.png", told, right)
    yield Hostile("palette-transparent.gif", encode(palette, "GIF", transparency=3), right)
    inverted = Image.eval(image.convert("CMYK"), lambda value: 255 - value)
    yield Hostile("cmyk-inverted.jpeg", encode(inverted, "JPEG"), right)
    adobe = encode(image.convert("CMYK"), "JPEG")
    yield Hostile(
        "cmyk-adobe-transform-9.jpeg",
        adobe.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\x09"),
        right,
    )
    yield Hostile("mode-LAB.tiff", encode(image.convert("LAB"), "TIFF"), "refused")
    deep = np.asarray(image.convert("L"), dtype=np.uint16) * 257
    for kind in ("PNG", "TIFF"):
        yield Hostile(f"sixteen-bits.{kind.lower()}", encode(Image.fromarray(deep), kind), right)
    wide = b"".join(b"\0" + bytes(64 * 6) for _ in range(48))
    yield Hostile("sixteen-bits-rgb.png", png(64, 48, 16, 2, zlib.compress(wide)), right)
    grey = np.asarray(image.convert("L"), dtype=np.float32) / 255
    for name, values, outcome in (
        ("within-0-and-1", grey, right),
        ("beyond-1", grey * 1e30, right),
        ("nan", np.full_like(grey, np.nan), "refused"),
        ("infinite", np.full_like(grey, np.inf), "refused"),
        ("negative", -grey - 1, right),
    ):
        yield Hostile(f"floats-{name}.tiff", encode(Image.fromarray(values), "TIFF"), outcome)
    signed = Image.fromarray(np.full((48, 64), -(2**31), np.int32))
    yield Hostile("integers-negative.tiff", encode(signed, "TIFF"), right)


def _metadata(image: Image.Image, random: np.random.Generator) -> Iterator[Hostile]:
    for orientation in (*range(10), 65_535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"orientation-{orientation}.jpeg"
        yield Hostile(name, encode(image, "JPEG", exif=exif), "picture")
    noise = random.bytes(60_000)
    exifs = {
        "noise": b"Exif\0\0" + noise,
        "empty": b"Exif\0\0",
        "huge-offset": b"Exif\0\0II*\0\xff\xff\xff\xff",
    }
    entries = struct.pack("<H", 5000) + struct.pack("<HHII", 0x0112, 3, 2**31, 8) * 5000
    exifs["5000-entries"] = b"Exif\0\0II*\0\x08\0\0\0" + entries
    for name, content in exifs.items():
        yield Hostile(f"exif-{name}.jpeg", encode(image, "JPEG", exif=content), "picture")
    yield Hostile("exif-noise.webp", encode(image, "WEBP", exif=b"Exif\0\0" + noise), "picture")
    plain = encode(image, "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 65_535) + b"Exif\0\0" + bytes(65_527)
    yield Hostile("exif-5-megabytes.jpeg", plain[:2] + segment * 80 + plain[2:], "picture")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    odd = {"noise": noise, "cut": srgb[: len(srgb) // 2], "zeros": bytes(500), "lab": lab}
    odd["size-of-4-gigabytes"] = b"\xff\xff\xff\xff" + srgb[4:]
    for name, content in odd.items():
        for kind in ("PNG", "JPEG", "TIFF"):
            content_of = encode(image, kind, icc_profile=content)
            yield Hostile(f"profile-{name}.{kind.lower()}", content_of, "picture")


def kilobytes(key: str, process: int | str = "self") -> int:
    """'VmRSS', or its peak 'VmHWM', of a process."""
    with Path(f"/proc/{process}/status").open() as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key))


def main(folder: Path) -> None:
    """Open every file with `open_image`: what came of it, CPU seconds, and the peak's growth."""
    if not any(folder.iterdir()):
        write(folder, corpus())
    for _ in range(2):  # what is imported and kept at the first pictures
        open_image(Image.effect_noise((2000, 2000), 9))
    first = kilobytes("VmRSS")
    for file in sorted(folder.iterdir()):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, start = kilobytes("VmRSS"), time.process_time()
        said, mode = "", ""
        try:
            mode = open_image(file).mode
        except ImageError as error:
            said = str(error)
        seconds, peak = time.process_time() - start, kilobytes("VmHWM") - before
        told = {"name": file.name, "said": said, "mode": mode, "seconds": seconds, "peak": peak}
        print(json.dumps(told))
    ctypes.CDLL(None).malloc_trim(0)  # what glibc keeps is free: a server gives it back, too
    print(json.dumps({"kept": kilobytes("VmRSS") - first}))


def write(folder: Path, files: Iterable[Hostile]) -> None:
    """Each file under its name."""
    for one in files:
        (folder / one.name).write_bytes(one.content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

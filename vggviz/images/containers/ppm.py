"""PBM, PGM and PPM: binary samples of any depth."""

from __future__ import annotations

import re

import numpy as np

from vggviz.images.containers.container import Container
from vggviz.images.errors import MAX_DEEP_COLOUR, ImageError, check_size

_SPACE = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
_NUMBER = _SPACE + rb"(\d{1,9})"
_BITS = re.compile(rb"P4" + _NUMBER * 2 + rb"[ \t\r\n\v\f]")
_SAMPLES = re.compile(rb"P([56])" + _NUMBER * 3 + rb"[ \t\r\n\v\f]")


def scan(data: bytes, name: str) -> Container:
    """The file with a header without comments and with samples of 8 or 16 bits."""
    if data[1:2] in b"123":
        raise ImageError("image_text_ppm", name=name)
    head = data[:4096]
    if bits := _BITS.match(head):
        width, height = map(int, bits.groups())
        check_size(width, height, name)
        return Container("PPM", b"P4 %d %d\n" % (width, height) + data[bits.end() :])
    samples = _SAMPLES.match(head)
    if not samples:
        raise ValueError("no header")
    kind, width, height, limit = map(int, samples.groups())
    check_size(width, height, name)
    if not 0 < limit < 65536:
        raise ValueError("no such depth")
    count = width * height * (3 if kind == 6 else 1)
    if limit <= 255:
        content = data[samples.end() : samples.end() + count]
        if limit < 255:
            scaled = [min(255, (2 * 255 * value + limit) // (2 * limit)) for value in range(256)]
            content = content.translate(bytes(scaled))
        return Container("PPM", b"P%d %d %d 255\n" % (kind, width, height) + content)
    if kind == 5:
        head = b"P5 %d %d 65535\n" % (width, height)
        joined = b"".join((head, memoryview(data)[samples.end() :]))
        return Container("PPM", joined, max_value=limit)
    check_size(width, height, name, MAX_DEEP_COLOUR // 6)
    wide = np.frombuffer(data, ">u2", count, samples.end())
    eight = np.empty(count, np.uint8)
    step = 1 << 20
    for at in range(0, count, step):
        part = wide[at : at + step].astype(np.uint32)
        eight[at : at + step] = np.minimum(part * 256 // (limit + 1), 255)
    return Container("PPM", b"".join((b"P6 %d %d 255\n" % (width, height), eight.data)))

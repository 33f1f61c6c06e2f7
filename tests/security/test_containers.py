"""Picture files that name more than they hold: nothing of memory is shown, little is done."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import encode, noise, pixels, refusal
from PIL import Image

from vggviz.images.formats import take_apart

WIDTH, HEIGHT = 64, 48


@pytest.mark.parametrize("coding", ["group4", "group3", "tiff_ccitt"])
def test_a_fax_is_refused(coding: str) -> None:
    """libtiff says nothing of rows that it leaves out: they would show what memory held before."""
    image = Image.fromarray(noise(WIDTH, HEIGHT, 1)[:, :, 0]).convert("1")
    assert "TIFF with compression" in refusal(encode(image, "TIFF", compression=coding))


def jpeg_tiff(rows: int, tile: bool) -> bytes:
    """A 64 x 64 TIFF in one strip or tile that is a JPEG of fewer rows."""
    stream = encode(Image.fromarray(noise(64, rows)).convert("L"), "JPEG")
    tags = {256: 64, 257: 64, 258: 8, 259: 7, 262: 1, 277: 1}
    place = {322: 64, 323: 64, 324: "at", 325: "length"} if tile else {}
    tags |= place or {273: "at", 278: 64, 279: "length"}
    where = 8 + 2 + 12 * len(tags) + 4
    body = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, value in sorted(tags.items()):
        number = {"at": where, "length": len(stream)}.get(str(value), value)
        body += struct.pack("<HHII", tag, 4, 1, number)
    return body + bytes(4) + stream


@pytest.mark.parametrize("tile", [False, True])
def test_a_jpeg_that_is_lower_than_its_strip_is_refused(tile: bool) -> None:
    assert pixels(jpeg_tiff(64, tile)).shape == (64, 64, 3)
    for rows in (16, 48):
        assert "truncated or damaged" in refusal(jpeg_tiff(rows, tile))
    whole = jpeg_tiff(64, tile)
    assert "truncated or damaged" in refusal(whole[:-2] + b"\0\0")  # without its end


DIGESTS = """
import hashlib, sys
from pathlib import Path
from vggviz.images import ImageError, open_image
from vggviz.images.isolated import IsolatedDecoder
decoder = IsolatedDecoder()
for file in sorted(Path(sys.argv[1]).iterdir()):
    for opener in (open_image, decoder.open_image) if file.suffix == ".both" else (open_image,):
        try:
            print(file.name, hashlib.sha256(opener(file).tobytes()).hexdigest())
        except ImageError:
            print(file.name, "refused")
"""


def damaged(image: Image.Image, random: np.random.Generator) -> dict[str, bytes]:
    """Files of every coding, cut, with a hole, or with bits flipped."""
    one, grey = image.convert("1"), image.convert("L")
    whole = {
        **{kind: encode(image, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF")},
        "lossless": encode(image, "WEBP", lossless=True),
        "progressive": encode(image, "JPEG", progressive=True),
        "ycbcr": encode(image.convert("YCbCr"), "TIFF", compression="tiff_lzw"),
        "jpeg-lower": jpeg_tiff(16, False),
    }
    for coding in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"):
        whole[coding] = encode(grey, "TIFF", compression=coding, strip_size=1000)
    whole["group4"] = encode(one, "TIFF", compression="group4", strip_size=100)
    try:
        import pillow_heif

        file = io.BytesIO()
        pillow_heif.from_pillow(image).save(file)
        whole["heic"] = file.getvalue()
    except ImportError:
        pass
    files = {"jpeg-cut.both": jpeg_tiff(16, True)}
    for name, content in whole.items():
        for turn in range(12):
            data = bytearray(content)
            at = int(random.integers(len(data)))
            if turn % 3 == 0:
                del data[at:]
            elif turn % 3 == 1:
                data[at : at + 40] = bytes(len(data[at : at + 40]))
            else:
                data[at] ^= 1 << int(random.integers(8))
            files[f"{name}-{turn}"] = bytes(data)
    return files


@pytest.mark.skipif(sys.platform != "linux", reason="MALLOC_PERTURB_ is glibc's")
def test_no_pixel_comes_from_memory(tmp_path: Path) -> None:
    """The same files in two processes whose memory is filled with different bytes."""
    random = np.random.default_rng(3)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    for name, content in damaged(coarse.resize((64, 48), 3), random).items():
        (tmp_path / name).write_bytes(content)
    runs = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", DIGESTS, str(tmp_path)],
            env={**os.environ, "MALLOC_PERTURB_": fill},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for fill in ("1", "170")
    ]
    one, other = (run.communicate()[0].splitlines() for run in runs)
    assert one == other
    assert len(one) > 150  # more where HEIC is opened, too
    assert any(not line.endswith("refused") for line in one)
    assert [line for line in one if "both" in line] == ["jpeg-cut.both refused"] * 2


def test_only_the_first_pictures_own_blocks_reach_a_decoder() -> None:
    image = Image.fromarray(noise(32, 24))
    secret = b"nobody decodes this"
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = secret.decode(), 3
    for kind in ("PNG", "JPEG", "WEBP"):
        file = encode(image, kind, exif=exif) + secret
        found = take_apart(file, "a")
        assert (found.format, found.orientation) == (kind, 3)
        assert secret in file
        assert secret not in found.data
    marked = encode(image, "TIFF", description=secret.decode())
    with Image.open(io.BytesIO(take_apart(marked, "a").data)) as opened:
        assert 270 not in opened.tag_v2
    still = encode(image, "GIF")
    moving = encode(image, "GIF", save_all=True, append_images=[Image.new("P", (32, 24))] * 5)
    found = take_apart(moving, "a").data
    assert len(found) < len(still) + 100
    assert (pixels(found) == pixels(still)).all()


def test_a_film_behind_a_photo_is_no_part_of_it() -> None:
    """Motion photos of phones; its bytes hold what would be thousands of scans."""
    still = encode(Image.fromarray(noise(64, 48)), "JPEG")
    film = np.random.default_rng(0).bytes(9 << 20)
    assert film.count(b"\xff\xda") > 100
    assert (pixels(still + film) == pixels(still)).all()
    assert len(take_apart(still + film, "a").data) <= len(still)

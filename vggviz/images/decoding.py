"""Decode one picture file, as it was taken apart, to upright 8-bit sRGB."""

from __future__ import annotations

import importlib
import io
import sys
from contextlib import suppress
from typing import Any

from PIL import Image

from vggviz.images.colour import over_white, to_srgb
from vggviz.images.containers.container import Container
from vggviz.images.depth import Range, bands, is_deep, stretch, stretch_colour
from vggviz.images.errors import BROKEN, MAX_PIXELS, ImageError, check_size

_T = Image.Transpose  # what undoes EXIF orientation 2, 3, … 8
_UPRIGHT: tuple[_T, ...] = (_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.FLIP_TOP_BOTTOM, _T.TRANSPOSE)
_UPRIGHT += (_T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90)
_SWAPPED_ENDS = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def decode(container: Container, name: str, full_range: bool = False) -> Image.Image:
    """The picture as `open_image` returns it. Raises ImageError."""
    try:
        image = _open(container)
        check_size(*image.size, name)
        range_, turn, icc = None, container.orientation, container.icc
        format, max_value = container.format, container.max_value
        frames = {"animated": True} if container.animated else {}
        deep_colour = _rawmode(image)[-4:-1] == ";16"
        image.load()
        check_size(*image.size, name)  # again: a HEIC stream may differ from its header
        if deep_colour and not full_range:
            range_ = _stretched_colour(image, container)
        del container  # the file's bytes, before there is a second picture
        if format in ("AVIF", "HEIF"):
            turn, icc = _orientation(image), image.info.get("icc_profile", b"")
        upright = _upright_rgb(image, icc, turn, name, max_value, full_range, range_)
        upright.info.update(frames)
        return upright
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = MAX_PIXELS // 1_000_000
        raise ImageError("image_pixels", name=name, most=most) from error
    except BROKEN as error:
        raise ImageError("image_pixels_damaged", name=name) from error


def convert(image: Image.Image, name: str, full_range: bool = False) -> Image.Image:
    """A Pillow image as `open_image` returns it; it is decoded where it isn't yet."""
    check_size(*image.size, name)
    try:
        image.load()
        check_size(*image.size, name)
        tags: dict[int, Any] = getattr(image, "tag_v2", {})
        max_value = 4095 if tags.get(258) == (12,) else None
        icc, range_ = image.info.get("icc_profile"), image.info.get("range")
        turn = _orientation(image)
        image = image.copy() if image.mode == "RGB" else image  # the caller's stays as it is
        return _upright_rgb(image, icc, turn, name, max_value, full_range, range_)
    except ImageError:
        raise
    except BROKEN as error:
        raise ImageError("image_pixels_damaged", name=name) from error


def _open(container: Container) -> Image.Image:
    file = io.BytesIO(container.data)
    if container.format == "HEIF":
        # The class itself, since registering it would change Pillow for the whole process.
        return importlib.import_module("pillow_heif").HeifImageFile(file)
    return Image.open(file, formats=(container.format,))


def _upright_rgb(
    image: Image.Image,
    icc: bytes | None,
    turn: int,
    name: str,
    max_value: int | None,
    full_range: bool,
    range_: Range | None,
) -> Image.Image:
    eight_bits = None
    if is_deep(image):
        eight_bits, range_ = stretch(image, name, max_value or 65535, full_range)
    white_is_zero = eight_bits and getattr(image, "tag_v2", {}).get(262) == 0
    plain = image.mode == "RGB" and not icc and not image.has_transparency_data
    srgb = None
    rgb = image._new(image.im) if plain else Image.new("RGB", image.size)
    for box in () if plain else bands(image.size):  # so that there are never three copies of all
        part = image.crop(box)
        if eight_bits:
            part = eight_bits(part)
            if white_is_zero:  # which Pillow minds at 8 bits only
                part = part.point(lambda value: 255 - value)
        part = over_white(part, name)
        srgb = srgb or to_srgb(icc, part.mode)
        rgb.paste(srgb(part), box)
    if 2 <= turn <= 8:
        rgb = rgb.transpose(_UPRIGHT[turn - 2])
    rgb.info = {} if range_ is None else {"range": range_}
    return rgb


def _orientation(image: Image.Image) -> int:
    with suppress(*BROKEN):  # broken EXIF is no reason to refuse good pixels
        return int(image.getexif().get(0x0112, 1))
    return 1


def _rawmode(image: Image.Image) -> str:
    tile = getattr(image, "tile", None)
    args = tile[0].args if tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _stretched_colour(image: Image.Image, container: Container) -> Range | None:
    """Stretch 16-bit colours that use less than half of their range.

    Pillow keeps the upper bytes of such samples; read in the other byte order, the lower ones.
    """
    if image.mode not in ("RGB", "RGBA", "RGBX"):
        return None
    if max(high for _, high in image.getextrema()[:3]) > 127:  # type: ignore[misc]
        return None
    other: Any = _open(container)
    rawmode = _rawmode(other)
    swapped = rawmode[:-1] + _SWAPPED_ENDS[rawmode[-1]]
    other.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        for tile in other.tile
    ]
    other.load()
    return stretch_colour(image, other)

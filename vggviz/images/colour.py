"""Alpha over white, and colour profiles to sRGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from vggviz.images.errors import BROKEN, ImageError

TOLERANCE = 2  # levels: profiles of sRGB differ from one another by the rounding of their tables
_LEVELS = (0, 32, 64, 96, 128, 160, 192, 224, 255)
_CUBE = Image.fromarray(np.array([list(product(_LEVELS, repeat=3))], np.uint8))  # (1, 729, 3)


def over_white(image: Image.Image, name: str) -> Image.Image:
    """A copy without alpha in mode RGB, L or CMYK, the modes of colour profiles. Raises ImageError
    for Lab."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode == "LAB":
        raise ImageError("image_lab", name=name)
    if not image.has_transparency_data:
        return image.convert("L" if grey else "CMYK" if image.mode == "CMYK" else "RGB")
    image = image.convert("LA" if grey else "RGBA")
    white = Image.new("L" if grey else "RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def to_srgb(icc: bytes | None, mode: str) -> Callable[[Image.Image], Image.Image]:
    """The conversion of pictures of this mode (RGB, L or CMYK) to sRGB by an embedded profile.

    A profile that is broken or of another colour space changes nothing, and neither does one that
    moves no colour by more than `TOLERANCE` levels, whatever its name.
    """
    if icc:
        with suppress(ImageCms.PyCMSError, *BROKEN):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            srgb = ImageCms.createProfile("sRGB")
            transform = ImageCms.buildTransform(profile, srgb, mode, "RGB")

            def convert(image: Image.Image) -> Image.Image:
                return cast(Image.Image, ImageCms.applyTransform(image, transform))

            if mode != "RGB":
                return convert
            moved = np.asarray(convert(_CUBE)).astype(int) - np.asarray(_CUBE)
            if abs(moved).max() > TOLERANCE:
                return convert
    return lambda image: image if image.mode == "RGB" else image.convert("RGB")

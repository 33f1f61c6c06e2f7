"""Samples of more than 8 bits as 8: stretched by the range that is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from vggviz.images.errors import ImageError

Range = tuple[float, float]
ToEightBits = Callable[[Image.Image], Image.Image]

BAND = 1 << 20  # pixels that are converted at a time


def bands(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of whole rows that cover a picture, each of about `BAND` pixels."""
    width, height = size
    rows = max(1, BAND // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def is_deep(image: Image.Image) -> bool:
    """Whether it is grey of 16 or 32 bits, or of floats."""
    return image.mode == "F" or image.mode.startswith("I")


def stretch(
    image: Image.Image, name: str, max_value: int, full_range: bool
) -> tuple[ToEightBits, Range | None]:
    """How parts of a deep grey picture become 8 bits, and the range that was stretched.

    With low and high the least and largest sample, integers become
    floor(256 (v − low) / (high − low + 1)) and floats round(255 (v − low) / (high − low)). The
    range is None where nothing was stretched: low and high are then those of the format, 0 and
    `max_value`, or 1 for floats, as with `full_range` and for a picture of one value. Raises
    ImageError for values that are not finite, and with `full_range` for those outside the
    format's range.
    """
    real = image.mode == "F"
    top = 1 if real else max_value
    extrema = [_extrema(image.crop(box)) for box in bands(image.size)]
    low, high = min(low for low, _ in extrema), max(high for _, high in extrema)
    if not all(np.isfinite(value) for pair in extrema for value in pair):
        raise ImageError("image_not_finite", name=name)
    if full_range and not 0 <= low <= high <= top:
        raise ImageError("image_out_of_range", name=name, top=top)
    stretched = not full_range and low < high and (low, high) != (0, top)
    if not stretched:
        low, high = 0, top
    key = image.info.get("transparency")

    def eight_bits(part: Image.Image) -> Image.Image:
        values = np.asarray(part)
        if real:
            grey = np.rint((values.astype(np.float64) - low) * (255 / (high - low)))
        else:
            grey = (values.astype(np.int64) - int(low)) * 256 // (int(high) - int(low) + 1)
        eight = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
        if isinstance(key, int):
            eight.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
        return eight

    return eight_bits, (float(low), float(high)) if stretched else None


def _extrema(part: Image.Image) -> Range:
    values = np.asarray(part)
    return float(values.min()), float(values.max())


def stretch_colour(high: Image.Image, low: Image.Image) -> Range | None:
    """Stretch colours of 16 bits in place, all channels alike: `high` holds their upper bytes and
    becomes floor(256 v / (top + 1)), `low` the lower bytes, top is the largest sample.

    The range is 0 and top, None for a picture that is all black.
    """
    top = 0
    for box in bands(high.size):
        top = max(top, int(_samples(high, low, box).max()))
    if not top:
        return None
    for box in bands(high.size):
        part = np.array(high.crop(box))  # alpha, if there is some, stays
        part[:, :, :3] = _samples(high, low, box) * 256 // (top + 1)
        high.paste(Image.fromarray(part, high.mode), box)
    return 0.0, float(top)


def _samples(
    high: Image.Image, low: Image.Image, box: tuple[int, int, int, int]
) -> npt.NDArray[np.uint32]:
    upper, lower = (np.asarray(one.crop(box))[:, :, :3].astype(np.uint32) for one in (high, low))
    return upper * 256 + lower

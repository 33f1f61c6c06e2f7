"""Maps as colours and overlays, and pictures as what travels inside a page."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from vggviz.inline import data_uri

__all__ = [
    "COLORMAPS",
    "Map",
    "Pixels",
    "colours",
    "data_uri",
    "gradient",
    "overlay",
    "palette",
    "resize",
    "stretch",
]

Map: TypeAlias = npt.NDArray[np.floating[Any]]
Pixels: TypeAlias = npt.NDArray[np.uint8]

# The default first. All perceptually uniform but the last, which most papers' pictures resemble.
COLORMAPS = ("inferno", "viridis", "cividis", "magma", "plasma", "turbo")


def colours(values: Map, colormap: str = COLORMAPS[0]) -> npt.NDArray[np.float32]:
    """Each value's colour in a table of 256: (H, W) in [0, 1] → RGB (H, W, 3) in [0, 1].

    Values beyond [0, 1] take the colours of the ends, NaN a neutral grey. Raises ValueError for
    a colour map that is not in `COLORMAPS`.
    """
    row = np.where(np.isnan(values), 256, np.clip(values * 256, 0, 255))
    return table(colormap)[row.astype(np.intp)]


@lru_cache
def table(colormap: str) -> npt.NDArray[np.float32]:
    """(257, 3): the 256 colours, then the grey of NaN."""
    import matplotlib

    if colormap not in COLORMAPS:
        raise ValueError(f"no colour map {colormap!r}: choose one of {', '.join(COLORMAPS)}")
    colours = matplotlib.colormaps[colormap](np.arange(256))[:, :3]
    return np.vstack((colours, np.full((1, 3), 0.5))).astype(np.float32)


def palette(colormap: str = COLORMAPS[0]) -> bytes:
    """The 256 colours of a colour map as RGB, three bytes each."""
    return np.rint(255 * table(colormap)[:256]).astype(np.uint8).tobytes()


@lru_cache
def gradient(colormap: str = COLORMAPS[0]) -> str:
    """The colour map as the stops of a CSS gradient, from 0 to 1."""
    row = colours(np.linspace(0, 1, 9, dtype=np.float32)[None], colormap)[0]
    return ", ".join("#" + "".join(f"{round(255 * part):02x}" for part in c) for c in row)


def resize(values: Map, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Bilinear between cell centres, constant beyond the outermost: (h, w) → `size` (H, W).

    A NaN cell does not spread: it leaves NaN in its own area, and pixels around it mix the other
    cells alone.
    """
    source = np.array(values, dtype=np.float32)
    hole = np.isnan(source)
    if not hole.any():
        return _interpolate(source, size, mode="bilinear", align_corners=False)
    filled = resize(np.where(hole, 0, source), size)
    share = resize(1.0 - hole, size)
    inside = _interpolate(hole.astype(np.float32), size, mode="nearest-exact") > 0
    return np.where(inside, np.float32(np.nan), filled / np.where(inside, 1, share))


def _interpolate(
    source: npt.NDArray[np.float32], size: tuple[int, int], **how: Any
) -> npt.NDArray[np.float32]:
    """torch's `interpolate` of an array (h, w)."""
    enlarged: npt.NDArray[np.float32]
    enlarged = F.interpolate(torch.from_numpy(source)[None, None], size, **how)[0, 0].numpy()
    return enlarged


def overlay(
    image: Pixels, values: Map, opacity: float = 0.5, colormap: str = COLORMAPS[0]
) -> Pixels:
    """(1 − opacity) · image + opacity · colour of the map: uint8 RGB (H, W, 3), rounded once.

    `values` (h, w) in [0, 1] are resized to the picture. Where they are NaN the picture stays
    bare. Raises ValueError for an opacity outside [0, 1] and for an unknown colour map.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie in [0, 1], not {opacity}")
    map = resize(values, (image.shape[0], image.shape[1]))
    share = np.where(np.isnan(map), 0, np.float32(opacity))[..., None]  # (H, W, 1)
    blended = (1 - share) * image + share * (255 * colours(map, colormap))
    return np.rint(blended).astype(np.uint8)


def stretch(values: Map) -> tuple[npt.NDArray[np.float32], float, float]:
    """(values − low) / (high − low), with low and high, the smallest and the largest raw value.

    Any shape. A flat map is all zeros. Infinite values become NaN, and NaN stays; where nothing
    else is there, low and high are NaN too.
    """
    raw = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(raw)
    low = float(raw.min(where=finite, initial=np.inf)) if finite.any() else float("nan")
    high = float(raw.max(where=finite, initial=-np.inf)) if finite.any() else low
    scaled = np.where(finite, raw - low, np.nan) / ((high - low) or 1)
    return scaled.astype(np.float32), low, high

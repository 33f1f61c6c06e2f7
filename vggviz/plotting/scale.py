"""The range of raw values that the colours of a map stand for."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vggviz.inline import colour_range
from vggviz.plotting.maps import Map, stretch
from vggviz.plotting.numbers import range_text
from vggviz.types import GATES, Kind

__all__ = ["ColourScale", "colour_scale"]

NEARLY = 0.1  # share of the colour range: a map that takes less of it looks the same everywhere


class ColourScale(NamedTuple):
    """The raw values at both ends of a map's colours (`low`, `high`), and the smallest and the
    largest value of the map itself (`least`, `most`).

    `flat` where all its values are equal; `nearly_flat` where they take less than `NEARLY` of the
    range of values that such a map can have, so that only exaggerated colours tell them apart;
    `share` is what they take of it.
    """

    low: float
    high: float
    least: float
    most: float
    flat: bool
    share: float

    @property
    def nearly_flat(self) -> bool:
        """Whether the map differs, but by less than honest colours show."""
        return not self.flat and self.share < NEARLY

    @property
    def range_text(self) -> tuple[str, str]:
        """Both ends as text; of a flat map its one value, twice."""
        return range_text(*((self.least, self.most) if self.flat else (self.low, self.high)))

    @property
    def span(self) -> tuple[float, float]:
        """Where on the colour bar the map's values begin and end: 0 is `low`, 1 is `high`."""
        left, right = self.unit(np.array([self.least, self.most])).tolist()
        return left, right

    def unit(self, raw: Map) -> npt.NDArray[np.float32]:
        """The raw values as shares of the colour range: 0 is `low`, 1 is `high`."""
        extent = self.high - self.low
        shares = (np.asarray(raw, dtype=np.float64) - self.low) / (extent if extent > 0 else 1)
        return shares.astype(np.float32)


def colour_scale(
    raw: Map, scale: str = "raw", kind: Kind | None = None, top: float = 0.0
) -> ColourScale:
    """The colour scale of a raw map of any shape; `kind` is that of attention, None for a CAM.

    'raw' is honest, and makes maps comparable: see `colour_range`. 'stretch' exaggerates: it goes
    from the map's smallest to its largest value.
    """
    _, least, most = stretch(raw)
    flat = not most - least > 1e-6 * max(abs(least), abs(most))  # but for rounding of float32
    if not math.isfinite(least):
        return ColourScale(least, most, least, most, flat, 1.0)
    low, high = colour_range(least, most, kind in GATES, top)
    share = (most - least) / ((high - low) or 1)
    if scale == "stretch":
        low, high = least, most
    return ColourScale(low, high, least, most, flat, share)

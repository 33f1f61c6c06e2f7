"""Masks of objects: from picture files, and from COCO's polygons and run lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vggviz.images import ImageError, open_image

__all__ = ["Mask", "Masks", "draw_masks", "read_masks"]

Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """The masks (H, W) of the objects of a picture, and of regions that are not to be judged; each
    covers the whole picture at a resolution of its own."""

    objects: tuple[Mask, ...]
    ignored: tuple[Mask, ...] = ()

    def boxes(self, width: int, height: int) -> Tensor:
        """A box (k, 4) around each object that has pixels, in pixels of the picture: left, top,
        right, bottom, exclusive ends."""
        found: list[list[float]] = []
        for mask in self.objects:
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            if len(rows):
                x, y = width / mask.shape[1], height / mask.shape[0]
                left, right = columns[0] * x, (columns[-1] + 1) * x
                found.append([left, rows[0] * y, right, (rows[-1] + 1) * y])
        return torch.tensor(found, dtype=torch.float32).reshape(-1, 4)


def read_masks(read: Callable[[str], bytes], files: Sequence[str]) -> Masks:
    """The masks in picture files, one an object; what is brighter than half of a file's brightest
    pixel is the object. Files whose name ends in '_ignore' are regions that are not to be judged.

    Raises ImageError for a file that can't be read or is black.
    """
    objects: list[Mask] = []
    ignored: list[Mask] = []
    for file in files:
        try:
            grey = np.asarray(open_image(read(file)).convert("L"))
        except (ImageError, OSError) as error:
            raise ImageError("image_in_data", file=file, error=error) from error
        ignore = file.rpartition(".")[0].lower().endswith("_ignore")
        if not grey.any() and not ignore:
            raise ImageError("mask_empty", file=file)
        (ignored if ignore else objects).append(grey > grey.max() / 2)
    return Masks(tuple(objects), tuple(ignored))


def draw_masks(file: str, segmentations: Sequence[Any], height: int, width: int) -> Masks:
    """The masks of COCO's `segmentation` fields for the picture `file`: lists of polygons
    [x, y, x, y, …], or run lengths. A pixel belongs to a polygon where its centre lies inside.

    Raises ImageError for anything else.
    """
    try:
        return Masks(
            tuple(
                _draw_runs(one, height, width)
                if isinstance(one, Mapping)
                else _draw_polygons(one, height, width)
                for one in segmentations
            )
        )
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        size = f"{width} × {height}"
        raise ImageError("mask_segmentation", file=file, size=size) from error


def _draw_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> Mask:
    from matplotlib.path import Path as Polygon  # half a second, which most data don't need

    mask = np.zeros((height, width), dtype=np.bool_)
    for flat in polygons:
        points = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
        left, top = np.maximum(np.floor(points.min(0)), 0).astype(int)
        right, bottom = np.minimum(np.ceil(points.max(0)), (width, height)).astype(int)
        if left >= right or top >= bottom:
            continue
        y, x = np.mgrid[top:bottom, left:right] + 0.5
        inside = Polygon(points).contains_points(np.stack((x.ravel(), y.ravel()), 1))
        mask[top:bottom, left:right] |= inside.reshape(x.shape)
    return mask


def _draw_runs(encoded: Mapping[str, Any], height: int, width: int) -> Mask:
    """Run lengths of background and object in turn, from the top of the first column down."""
    counts = encoded["counts"]
    runs = _uncompress(counts) if isinstance(counts, str) else counts
    if list(encoded["size"]) != [height, width] or sum(runs) != height * width:
        raise ValueError("run lengths of another size")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _uncompress(text: str) -> list[int]:
    """COCO's compressed run lengths: numbers in base 32, lowest digit first, one character a digit
    (ASCII from 48), 32 added where another follows, 16 in the last for a negative number; from the
    fourth on they are differences to the run before the last."""
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("ascii"):
        digit = code - 48
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            if digit & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs

"""Whether a map outlines the object: boxes around its parts against the true one (MaxBoxAccV2)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from vggviz.types import Grid

__all__ = ["OVERLAPS", "THRESHOLDS", "best_thresholds", "box_accuracy", "overlaps", "unit_maps"]

OVERLAPS = (0.3, 0.5, 0.7)  # δ: the IoU from which a box counts
THRESHOLDS = tuple(step / 25 for step in range(25))  # τ, of a map scaled to [0, 1]


def overlaps(maps: Tensor, boxes: Tensor, size: Grid) -> Tensor:
    """The best IoU of a map's boxes with its true ones at each τ of `THRESHOLDS`: (B, T).

    Each map (B, h, w) is scaled to [0, 1] and resized to `size` (H, W) by `unit_maps`; at each
    threshold every connected part (8 neighbours) of what lies above has a box, and the one that
    fits any of `boxes` (B, k, 4; left, top, right, bottom, exclusive ends; zeros are none) best
    counts. 0 where nothing lies above, as for a map that is flat or holds a NaN or an infinity.

    Choe et al. 2020, 'Evaluating Weakly Supervised Object Localization Methods Right', section
    3.3, and Choe et al. 2022 (PAMI), which lets all boxes of a map compete. Departures: 25
    thresholds instead of 1000, and ends of boxes that are exclusive.
    """
    pairs = zip(unit_maps(maps, size).cpu().numpy(), boxes.cpu().numpy(), strict=True)
    return torch.tensor(
        [[_best(values > threshold, some) for threshold in THRESHOLDS] for values, some in pairs]
    )


def unit_maps(maps: Tensor, size: Grid) -> Tensor:
    """Maps (B, h, w) scaled to [0, 1] each and resized bilinearly to `size` (H, W): (B, H, W). 0
    everywhere for a map that is flat or holds a NaN or an infinity."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    ordered = (high > low) & maps.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    unit = torch.where(ordered, (maps - low) / torch.where(ordered, high - low, 1), 0)
    return F.interpolate(unit[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def best_thresholds(training: Tensor) -> Tensor:
    """The threshold at which most boxes fit, for each of `OVERLAPS`: (n, T) → indices (3,).

    `training` are the `overlaps` of other pictures than those that are judged.
    """
    fits = torch.stack([(training >= overlap).double().mean(0) for overlap in OVERLAPS])  # (3, T)
    return fits.argmax(1)


def box_accuracy(found: Tensor, thresholds: Tensor) -> Tensor:
    """Whether the boxes fit at each of `OVERLAPS`: (n, T), indices (3,) → bool (n, 3).

    MaxBoxAccV2 is the mean of it all. Departure: the paper takes the thresholds that are best on
    the judged pictures themselves; here `best_thresholds` takes them from others.
    """
    return found[:, thresholds] >= found.new_tensor(OVERLAPS)


def _best(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], boxes: np.ndarray) -> float:
    parts = ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0])
    if not parts:
        return 0.0
    ends = [(x.start, y.start, x.stop, y.stop) for y, x in parts]
    left, top, right, bottom = np.array(ends, np.float64).T
    x0, y0, x1, y1 = boxes.T[..., None]  # (k, 1) each, against (parts,)
    across = np.minimum(right, x1) - np.maximum(left, x0)
    down = np.minimum(bottom, y1) - np.maximum(top, y0)
    both = np.clip(across, 0, None) * np.clip(down, 0, None)
    true = (x1 - x0) * (y1 - y0)
    return float((both / ((right - left) * (bottom - top) + true - both)).max())

"""Whether a map outlines the object: boxes around its parts against the true one (MaxBoxAccV2)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from vggviz.types import Grid

__all__ = ["OVERLAPS", "THRESHOLDS", "best_thresholds", "box_accuracy", "overlaps"]

OVERLAPS = (0.3, 0.5, 0.7)  # δ: the IoU from which a box counts
THRESHOLDS = tuple(step / 25 for step in range(25))  # τ, of a map scaled to [0, 1]


def overlaps(maps: Tensor, boxes: Tensor, size: Grid) -> Tensor:
    """The best IoU of a map's boxes with the true one at each τ of `THRESHOLDS`: (B, T).

    Each map (B, h, w) is scaled to [0, 1] and resized bilinearly to `size` (H, W); at each
    threshold every connected part (8 neighbours) of what lies above has a box, and the one that
    fits `boxes` (B, 4; left, top, right, bottom, exclusive ends) best counts. 0 where nothing lies
    above, as for a map that is flat or holds a NaN or an infinity.

    Choe et al. 2020, 'Evaluating Weakly Supervised Object Localization Methods Right', section
    3.3, and Choe et al. 2022 (PAMI), which lets all boxes of a map compete. Departures: 25
    thresholds instead of 1000, and ends of boxes that are exclusive.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    ordered = (high > low) & maps.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    unit = torch.where(ordered, (maps - low) / torch.where(ordered, high - low, 1), 0)
    enlarged = F.interpolate(unit[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    pairs = zip(enlarged.cpu().numpy(), boxes.cpu().numpy(), strict=True)
    return torch.tensor(
        [[_best(values > threshold, box) for threshold in THRESHOLDS] for values, box in pairs]
    )


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


def _best(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], box: np.ndarray) -> float:
    parts = ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0])
    if not parts:
        return 0.0
    ends = [(x.start, y.start, x.stop, y.stop) for y, x in parts]
    left, top, right, bottom = np.array(ends, np.float64).T
    across = np.minimum(right, box[2]) - np.maximum(left, box[0])
    down = np.minimum(bottom, box[3]) - np.maximum(top, box[1])
    both = np.clip(across, 0, None) * np.clip(down, 0, None)
    true = (box[2] - box[0]) * (box[3] - box[1])
    return float((both / ((right - left) * (bottom - top) + true - both)).max())

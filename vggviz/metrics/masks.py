"""Whether a map covers the object, pixel by pixel, against a mask (PxAP)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vggviz.images import Crop
from vggviz.metrics.boxes import unit_maps
from vggviz.types import Grid

__all__ = ["BINS", "IGNORED", "crop_mask", "pixel_average_precision", "score_histograms"]

BINS = 1001  # thresholds 0, 0.001, … 1
IGNORED = 255  # a pixel of a mask that is not judged


def score_histograms(maps: Tensor, masks: Tensor) -> Tensor:
    """How many pixels of the background and of the object have which score: (B, h, w) maps and
    (B, H, W) masks → (B, 2, `BINS`), float64.

    Masks are 0 for background, 1 for the object, `IGNORED` for what is not judged. Scores are those
    of `unit_maps`, in bins of 0.001, the last of which holds 1 alone.
    """
    size: Grid = (masks.shape[-2], masks.shape[-1])
    bins = (unit_maps(maps, size) * (BINS - 1)).long().clamp(0, BINS - 1)
    cells = bins + masks.long() * BINS  # the object's bins come after the background's
    rows = zip(cells, masks != IGNORED, strict=True)
    counts = [torch.bincount(one[judged], minlength=2 * BINS) for one, judged in rows]
    return torch.stack(counts).reshape(-1, 2, BINS).double()


def pixel_average_precision(histograms: Tensor) -> Tensor:
    """The area under the curve of precision over recall of all pixels together: `score_histograms`
    summed over pictures (…, 2, `BINS`) → (…), in [0, 1]. NaN where no pixel is of an object.

    PxPrec(τ) = |{s ≥ τ} ∩ object| / |{s ≥ τ}|, PxRec(τ) = |{s ≥ τ} ∩ object| / |object|, and
    PxAP = Σ PxPrec(τ_l) · (PxRec(τ_l) − PxRec(τ_{l−1})) over falling thresholds τ_l. It is the
    average precision of the binned scores; a map of random values gets the object's share of the
    pixels.

    Choe et al. 2020, 'Evaluating Weakly Supervised Object Localization Methods Right', section 3.3.
    """
    background, object_ = histograms.flip(-1).unbind(-2)  # from the highest score down
    above = object_.cumsum(-1)
    precision = above / (above + background.cumsum(-1)).clamp(min=1)
    return (precision * object_).sum(-1) / above[..., -1]


def crop_mask(mask: npt.NDArray[np.bool_], crop: Crop, size: int) -> npt.NDArray[np.bool_]:
    """A mask of the whole upright original, at any resolution, in pixels of the network's square:
    (size, size), each the pixel of the mask that lies at its centre."""
    rows, columns = mask.shape
    centres = (np.arange(size) + 0.5) / size
    x = (crop.left + centres * (crop.right - crop.left)) * columns / crop.width
    y = (crop.top + centres * (crop.bottom - crop.top)) * rows / crop.height
    return mask[np.ix_(y.astype(np.intp), x.astype(np.intp))]

"""How alike two maps are: rank correlation, overlap of the brightest parts, SSIM."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.metrics.float64 import float64

__all__ = ["MEASURES", "Agreement", "agreement", "agreements", "ssim"]

FINEST = 16  # cells a side on which ranks are compared: the deepest maps have no more
VIEW = 32  # cells a side on which SSIM compares maps
PAIRS = 1 << 18  # pairs of cells at once: they stay in the processor's cache
# Wang et al. 2004, section III-C.
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03


class Agreement(NamedTuple):
    """How alike two maps are: 1 is the same. `spearman` and `kendall` lie in [−1, 1] and are 0 by
    chance, `iou` lies in [0, 1], `ssim` in [−1, 1]. NaN where a map is flat or holds no number."""

    spearman: float
    kendall: float
    iou: float
    ssim: float


MEASURES = Agreement._fields


def agreement(a: Tensor, b: Tensor, *, top: float = 0.2) -> Agreement:
    """How alike two raw maps (h, w) and (H, W) of one picture are; see `agreements`."""
    return Agreement(*agreements(a[None], b[None], top=top)[0].tolist())


def agreements(a: Tensor, b: Tensor, *, top: float = 0.2) -> Tensor:
    """How alike maps are, pair by pair: (B, h, w), (B, H, W) → (B, 4), in the order of `MEASURES`.

    On the coarser of the two grids, of at most 16 cells a side (the finer map is averaged over
    areas: enlarging the coarser one would invent ranks):

    `spearman` ρ is the correlation of the ranks, ties at their mean rank;
    `kendall` τ_b = Σ_ij s_ij t_ij / √(Σ s² · Σ t²), s_ij = sign(a_i − a_j), t_ij of b (Kendall
    1945, which divides by the pairs that are not tied);
    `iou` is |A ∩ B| / |A ∪ B| of the cells that belong to the largest `top` share of each map, at
    least one. Cells that are tied across that border share what is left of it: a weight below 1,
    and Σ min / Σ max over cells;

    and `ssim` on both maps scaled to [0, 1] and resized to 32 × 32 (see `ssim`).

    A row is NaN where one of its maps is the same everywhere (it has no order), or holds a NaN
    or an infinity. Raises ValueError for maps of other shapes, and a `top` outside (0, 1).
    """
    if a.ndim != 3 or b.ndim != 3 or len(a) != len(b) or min(a.numel(), b.numel()) == 0:
        raise ValueError(f"expected maps (h, w), not {tuple(a.shape[1:])} and {tuple(b.shape[1:])}")
    if not 0 < top < 1:
        raise ValueError(f"top must be a share in (0, 1), not {top}")
    grid = min(a.shape[1], b.shape[1], FINEST), min(a.shape[2], b.shape[2], FINEST)
    a, b = float64(a), float64(b)  # so that cells that are equal stay equal
    first, second = (F.adaptive_avg_pool2d(m[:, None], grid).flatten(1) for m in (a, b))
    overlap = _overlap(_top(first, top), _top(second, top))
    measured = torch.stack((*_ranks(first, second), overlap, ssim(a, b)), 1)
    unknown = _unordered(a) | _unordered(b) | _unordered(first) | _unordered(second)
    return measured.masked_fill(unknown[:, None], math.nan)


def _unordered(maps: Tensor) -> Tensor:
    """Which maps are the same everywhere or hold a NaN or infinity: (B, ...) → bool (B,)."""
    flat = maps.flatten(1)
    return ~flat.isfinite().all(1) | (flat.amin(1) == flat.amax(1))


def _ranks(a: Tensor, b: Tensor) -> Tensor:
    """ρ and τ_b: (B, n), (B, n) → (2, B)."""
    first, second = _places(a), _places(b)  # (2, B, n): how many are smaller, and not larger
    x, y = (places.double().mean(0) for places in (first, second))  # ranks from 0: (B, n)
    rho = F.cosine_similarity(x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True))
    tied = [(places[1] - places[0]).sum(1).double() for places in (first, second)]
    count = a.shape[1]
    rows = max(1, PAIRS // count**2)
    pairs = zip(first[0].float().split(rows), second[0].float().split(rows), strict=True)
    alike = torch.cat([_alike(x, y) for x, y in pairs])
    untied = [count**2 - times for times in tied]  # Σ s²: the pairs, both ways, that are not tied
    return torch.stack((rho, alike / (untied[0] * untied[1]).sqrt()))


def _places(values: Tensor) -> Tensor:
    ordered = values.sort(1).values
    return torch.stack([torch.searchsorted(ordered, values, right=end) for end in (False, True)])


def _alike(a: Tensor, b: Tensor) -> Tensor:
    """Σ_ij sign(a_i − a_j) · sign(b_i − b_j): (B, n), (B, n) → (B,). Whole numbers below 2^24, so
    single precision is exact."""
    s, t = (torch.sign(m[:, :, None] - m[:, None, :]).flatten(1) for m in (a, b))
    return torch.linalg.vecdot(s, t).double()


def _top(maps: Tensor, share: float) -> Tensor:
    """How much each cell belongs to the largest `share`: (B, n) → (B, n), of sum k."""
    count = max(1, round(share * maps.shape[1]))
    border = maps.topk(count, 1).values[:, -1:]
    above, tied = (maps > border).double(), (maps == border).double()
    left = count - above.sum(1, keepdim=True)
    return above + tied * left / tied.sum(1, keepdim=True)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    return torch.minimum(a, b).sum(1) / torch.maximum(a, b).sum(1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of maps: (B, h, w), (B, H, W) → (B,).

    Each map is scaled to [0, 1] by its own range and resized bilinearly to 32 × 32; then the mean
    over all places of (2 μ_a μ_b + c1)(2 σ_ab + c2) / ((μ_a² + μ_b² + c1)(σ_a² + σ_b² + c2)) in a
    Gaussian window of 11 × 11 and σ 1.5 that lies inside the map, c1 = 0.01², c2 = 0.03².

    Wang et al. 2004, 'Image Quality Assessment: From Error Visibility to Structural Similarity',
    eq. 13, with its settings for a range of 1. NaN for a flat map.
    """
    x, y = (_scaled(float64(maps)) for maps in (a, b))  # (B, 32, 32)
    line = torch.arange(VIEW, dtype=torch.double, device=x.device)
    starts = line[: VIEW - WINDOW + 1, None]  # of each window; (22, 1)
    inside = (line >= starts) & (line < starts + WINDOW)
    window = inside * torch.exp(-(line - starts - WINDOW // 2).square() / (2 * SIGMA**2))
    window = window / window.sum(1, keepdim=True)  # (22, 32): a Gaussian a row

    def mean(values: Tensor) -> Tensor:
        return window @ values @ window.T

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    similar = (2 * mx * my + K1**2) * (2 * cov + K2**2)
    different = (mx * mx + my * my + K1**2) * (vx + vy + K2**2)
    return (similar / different).mean((1, 2))


def _scaled(values: Tensor) -> Tensor:
    """Each map by its own range to [0, 1], and to 32 × 32 cells."""
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    spread = torch.where(high > low, high - low, math.nan)
    unit = ((values - low) / spread)[:, None]
    size = (VIEW, VIEW)
    return F.interpolate(unit, size, mode="bilinear", align_corners=False, antialias=True)[:, 0]

"""Whether a network needs what a map calls important: deletion and insertion curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.metrics.float64 import float64
from vggviz.types import Grid

__all__ = [
    "RISE",
    "SCALED",
    "Kind",
    "Predict",
    "Settings",
    "area",
    "blur",
    "confidence",
    "curves",
    "perturb",
    "probability",
    "ranking",
    "scaled_batch_size",
]

Predict = Callable[[Tensor], Tensor]  # (B, 3, H, W) normalised -> logits (B, K)
Kind = Literal["deletion", "insertion"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a picture is deleted, or inserted into its blurred copy: in `steps` equal parts.

    `sigma` and `reach` of the blur's Gaussian are pixels, or, where `scaled`, shares of the
    picture's shorter side; what the Gaussian has beyond `reach` is folded back. `padding` is what
    the blur sees beyond the picture: zeros (the mean colour), or the picture mirrored.
    """

    steps: int
    sigma: float
    reach: float
    scaled: bool
    padding: Literal["constant", "reflect"]


# The authors' code: 224 steps of 224 pixels each, an 11 × 11 kernel of σ 5 (for 224 × 224).
RISE = Settings(steps=224, sigma=5, reach=5, scaled=False, padding="constant")
# Ours: the same at every size, and blurred enough that small pictures hold no class either.
SCALED = Settings(steps=50, sigma=1 / 16, reach=3 / 16, scaled=True, padding="reflect")


def perturb(
    predict: Predict,
    pixels: Tensor,
    heatmap: Tensor,
    target: int,
    kind: Kind = "deletion",
    settings: Settings = SCALED,
    *,
    batch: int = 16,
    multi_label: bool = False,
) -> Iterator[tuple[float, float]]:
    """The points of one deletion or insertion curve, (fraction of pixels, probability of the class
    `target`), as they are computed, `batch` at a time, or fewer where pictures are large (see
    `scaled_batch_size`).

    `pixels` (3, H, W) or (1, 3, H, W), normalised; `heatmap` (h, w), larger where it matters
    more, resized bilinearly. Deletion begins with the picture and sets the pixels from the most
    important down to 0, the mean colour; a good map makes the probability fall fast. Insertion
    begins with the blurred picture and gives the pixels back in the same order. `multi_label` as
    for `probability`.

    Pixels that the map weighs alike go in one fixed scattered order, so a flat map gives the curve
    of a random order. Raises ValueError for a map with a NaN or an infinity, for a `target` that
    is no class, and for what is not one picture or one map.

    Petsiuk et al. 2018, 'RISE: Randomized Input Sampling for Explanation', section 4.2. Departure:
    ties (the authors' order depends on the sorting).
    """
    image = pixels if pixels.ndim == 4 else pixels[None]
    if len(image) != 1 or heatmap.ndim != 2:
        raise ValueError(
            "expected one picture (3, H, W) and one map (h, w), "
            f"not {tuple(pixels.shape)} and {tuple(heatmap.shape)}"
        )
    targets = torch.tensor([target], device=image.device)
    batch = scaled_batch_size(_size(image), batch)
    parts = _scores(predict, image, heatmap[None], targets, kind, settings, batch, multi_label)
    scores = chain.from_iterable(part.tolist() for part in parts)
    yield from ((step / settings.steps, score) for step, score in enumerate(scores))


def curves(
    predict: Predict,
    pixels: Tensor,
    maps: Tensor,
    targets: Tensor,
    kind: Kind = "deletion",
    settings: Settings = SCALED,
    *,
    batch: int = 128,
) -> Tensor:
    """Whole curves of many pictures: (B, 3, H, W), (B, h, w), (B,) → (B, steps + 1), the
    probabilities at the fractions 0, 1/steps, … 1. Arguments and errors as for `perturb`."""
    scores = torch.cat(list(_scores(predict, pixels, maps, targets, kind, settings, batch)))
    return scores.reshape(len(pixels), settings.steps + 1)  # (B·(steps+1),) -> (B, …)


def area(fractions: Sequence[float] | Tensor, scores: Sequence[float] | Tensor) -> Tensor:
    """The area under a curve by trapezoids: (n,), (..., n) → (...).

    In [0, 1] from fraction 0 to 1; of a curve that was stopped, the area so far. Raises
    ValueError for fewer than two points.
    """
    both = (fractions, scores)
    x, y = (v if isinstance(v, Tensor) else torch.tensor(v, dtype=torch.double) for v in both)
    x, y = float64(x).cpu(), float64(y).cpu()
    if x.ndim != 1 or len(x) < 2 or y.shape[-1] != len(x):
        raise ValueError(
            f"an area needs two points or more, not {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return torch.trapezoid(y, x)


def confidence(
    predict: Predict, pixels: Tensor, maps: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """What the class loses when only the map's part of the picture is shown: drop and increase.

    drop = max(0, y − o) / y in [0, 1], and whether o > y, (B,) each; y is the class's probability
    for the picture, o that for the picture times the map, which is scaled to [0, 1] and resized.
    The paper's averages, in percent, are 100 times their means. A flat map shows nothing at all.
    Raises ValueError for a map with a NaN or an infinity, and a target that is no class.

    Chattopadhay et al. 2018, 'Grad-CAM++', section 4.1. Departure: the map multiplies the
    normalised picture, so that what it hides becomes the mean colour and not black.
    """
    _check(pixels, maps)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    unit = (maps - low) / torch.where(high > low, high - low, 1)
    masked = pixels * _resized(unit, _size(pixels))[:, None]
    before, after = (probability(predict, x, targets) for x in (pixels, masked))
    drop = (before - after).clamp(min=0) / torch.where(before > 0, before, 1)
    return drop, after > before


def probability(
    predict: Predict, pixels: Tensor, targets: Tensor, multi_label: bool = False
) -> Tensor:
    """Each picture's probability of its own class: (B, 3, H, W), (B,) → (B,), without a graph.

    It is the softmax of the logits; with `multi_label`, and of a single logit, their sigmoid.
    Raises ValueError for a target that is no class.
    """
    with torch.no_grad():
        logits = predict(pixels)
    classes = logits.shape[1]
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        raise ValueError(f"a target must be a class from 0 to {classes - 1}")
    shares = logits.sigmoid() if multi_label or classes == 1 else logits.softmax(1)
    return shares.gather(1, targets[:, None])[:, 0]


def ranking(maps: Tensor, size: Grid) -> Tensor:
    """The place of each pixel of `size` (H, W) in a map's order, 0 for the most important:
    (B, h, w) → (B, H·W).

    Maps are resized bilinearly; pixels that are tied go in one fixed scattered order.
    """
    values = _resized(maps, size).flatten(1)
    scattered = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(0))
    scattered = scattered.to(maps.device)
    order = scattered[values[:, scattered].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(1)


def scaled_batch_size(size: Grid, most: int) -> int:
    """The batch size for pictures of `size` (H, W): max(1, min(most, ⌊most · 80² / (H·W)⌋)).

    It keeps a batch on a CPU at about a second, after which progress and cancelling are checked.
    """
    return max(1, min(most, most * 80 * 80 // (size[0] * size[1])))


def blur(pixels: Tensor, settings: Settings) -> Tensor:
    """Pictures (B, 3, H, W) through the Gaussian of `settings`.

    The kernel is what a Gaussian filter with mirrored ends makes of one bright pixel in a square
    of 2 · reach + 1 pixels, which is how the authors of RISE make theirs.
    """
    unit = min(_size(pixels)) if settings.scaled else 1
    sigma, reach = settings.sigma * unit, max(1, round(settings.reach * unit))
    taps, wide = 2 * reach + 1, math.ceil(4 * sigma)
    offsets = torch.arange(-wide, wide + 1)
    weights = torch.exp(-offsets.double().square() / (2 * sigma**2))
    place = (offsets + reach) % (2 * taps)  # mirrored at the ends: … 1 0 | 0 1 … n | n …
    place = torch.minimum(place, 2 * taps - 1 - place)
    kernel = torch.zeros(taps, dtype=torch.double).index_add(0, place, weights / weights.sum())
    kernel = kernel.float().to(pixels)
    channels = pixels.shape[1]
    for shape, sides in (((-1, 1), (0, 0, reach, reach)), ((1, -1), (reach, reach, 0, 0))):
        filters = kernel.reshape(1, 1, *shape).expand(channels, -1, -1, -1)
        pixels = F.conv2d(F.pad(pixels, sides, mode=settings.padding), filters, groups=channels)
    return pixels


def _scores(
    predict: Predict,
    pixels: Tensor,
    maps: Tensor,
    targets: Tensor,
    kind: Kind,
    settings: Settings,
    batch: int,
    multi_label: bool = False,
) -> Iterator[Tensor]:
    """The probabilities of all pictures' steps one after the other, `batch` at a time."""
    _check(pixels, maps)
    if kind == "deletion":
        before, after = pixels, torch.zeros_like(pixels)
    elif kind == "insertion":
        before, after = blur(pixels, settings), pixels
    else:
        raise ValueError(f"no curve {kind!r}: choose deletion or insertion")
    places = ranking(maps, _size(pixels)).reshape(len(pixels), 1, *_size(pixels))
    count = settings.steps + 1
    for rows in torch.arange(len(pixels) * count, device=pixels.device).split(batch):
        picture, step = rows // count, rows % count
        # Of H·W pixels, round(step / steps · H·W) are changed.
        changed = (step * places[0].numel() * 2 + settings.steps) // (2 * settings.steps)
        gone = places[picture] < changed[:, None, None, None]
        mixed = torch.where(gone, after[picture], before[picture])
        yield probability(predict, mixed, targets[picture], multi_label)


def _check(pixels: Tensor, maps: Tensor) -> None:
    if pixels.ndim != 4 or maps.ndim != 3 or len(pixels) != len(maps):
        raise ValueError(
            "expected pictures (B, 3, H, W) and as many maps (B, h, w), "
            f"not {tuple(pixels.shape)} and {tuple(maps.shape)}"
        )
    if not bool(maps.isfinite().all()):
        raise ValueError("a map with a NaN or an infinity puts the pixels in no order")


def _size(pixels: Tensor) -> Grid:
    return pixels.shape[-2], pixels.shape[-1]


def _resized(maps: Tensor, size: Grid) -> Tensor:
    """(B, h, w) → (B, H, W)."""
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]

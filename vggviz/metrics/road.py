"""ROAD: pixels are replaced by interpolating their neighbours, so that no shape gives them away."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.metrics.faithfulness import Predict, probability, ranking
from vggviz.metrics.float64 import float64

__all__ = ["FRACTIONS", "NOISE", "impute", "road"]

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NOISE = 0.01  # standard deviation, of normalised pixels
# What a pixel owes to its eight neighbours: 1/6 to those beside it, 1/12 to those at the corners.
NEIGHBOURS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))


def road(
    predict: Predict,
    pixels: Tensor,
    maps: Tensor,
    targets: Tensor,
    generator: torch.Generator,
    *,
    fractions: Sequence[float] = FRACTIONS,
    batch: int = 128,
) -> Tensor:
    """LeRF − MoRF: (B, 3, H, W), (B, h, w), (B,) → (B,), in [−1, 1]; 0 for an order by chance.

    The mean over `fractions` of the class's probability after the least relevant pixels were
    removed, minus that after the most relevant ones were, each removed by `impute`. Ties and
    errors as for `perturb`.

    Rong et al. 2022, 'A Consistent and Efficient Evaluation Strategy for Attribution Methods'
    (ROAD: remove and debias). Departures: the probability of one class stands for the accuracy on
    a data set; pytorch-grad-cam's `ROADCombined` is half of it.
    """
    if not bool(maps.isfinite().all()):
        raise ValueError("a map with a NaN or an infinity puts the pixels in no order")
    size = pixels.shape[-2], pixels.shape[-1]
    places = ranking(maps, size).reshape(len(pixels), *size)
    differences: list[Tensor] = []
    for sign, order in ((-1, places), (1, places[0].numel() - 1 - places)):
        for fraction in fractions:
            gone = order < round(fraction * order[0].numel())
            filled = impute(pixels, gone, generator)
            scores = [
                probability(predict, *part)
                for part in zip(filled.split(batch), targets.split(batch), strict=True)
            ]
            differences.append(sign * float64(torch.cat(scores)))
    return torch.stack(differences).sum(0) / len(fractions)


def impute(
    pixels: Tensor,
    gone: Tensor,
    generator: torch.Generator | None = None,
    *,
    noise: float = NOISE,
    tolerance: float = 1e-5,
) -> Tensor:
    """Pictures whose pixels `gone` are the weighted mean of their neighbours, and a little noise.

    (B, 3, H, W), bool (B, H, W) → (B, 3, H, W). All gone pixels together solve Σ_j w_j (x_j − x)
    = 0 over each one's neighbours inside the picture, w = 1/6 beside it and 1/12 at its corners
    (Rong et al. 2022, noisy linear imputation). The system is symmetric and positive definite, and
    conjugate gradients solve it for the whole batch at once until no residual is larger than
    `tolerance` (in normalised pixels). Raises ValueError where a picture has no pixel left.
    """
    if bool(gone.flatten(1).all(1).any()):
        raise ValueError("a picture that has lost all of its pixels can't be filled in")
    channels = pixels.shape[1]
    kernel = pixels.new_tensor(NEIGHBOURS).expand(channels, 1, 3, 3)

    def around(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel, padding=1, groups=channels)

    free = gone[:, None].to(pixels)  # (B, 1, H, W)
    owed = around(torch.ones_like(pixels[:1]))  # 1, and less at the border

    def apply(x: Tensor) -> Tensor:
        return free * (owed * x - around(x))

    known = pixels * (1 - free)
    x = torch.zeros_like(pixels)
    residual = free * around(known)
    direction, size = residual, _dot(residual, residual)
    for _ in range(pixels[0, 0].numel()):
        if float(residual.abs().amax()) <= tolerance:
            break
        image = apply(direction)
        slope = _dot(direction, image)
        step = size / torch.where(slope > 0, slope, 1)  # a channel that is solved stands still
        x = x + step * direction
        residual = residual - step * image
        new = _dot(residual, residual)
        direction = residual + new / torch.where(size > 0, size, 1) * direction
        size = new
    jitter = torch.randn(pixels.shape, generator=generator).to(pixels) * noise if noise else 0
    return known + free * (x + jitter)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Of each channel of each picture: (B, C, 1, 1)."""
    return (x * y).sum((2, 3), keepdim=True)

"""Maps that do not depend on the network: what a method must beat."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.types import Grid

__all__ = ["BASELINES", "centre", "noise", "sobel"]

SIGMA = 1 / 4  # of each side
EDGES = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def centre(grid: Grid) -> Tensor:
    """A Gaussian in the middle of `grid` (H, W): exp(−(x² / σ_x² + y² / σ_y²) / 2).

    x and y run from the middle of the picture to the middles of the cells, σ is a quarter of
    each side. A hard baseline, since photographers put things in the middle.
    """
    y, x = (((torch.arange(n) + 0.5) / n - 0.5) / SIGMA for n in grid)
    return torch.exp(-(y[:, None].square() + x.square()) / 2)


def sobel(pixels: Tensor) -> Tensor:
    """The strength of edges: √(g_x² + g_y²) of the mean over colours, (B, 3, H, W) → (B, H, W).

    g are the answers of Sobel's 3×3 filters; the border is mirrored. Adebayo et al. 2018, 'Sanity
    Checks for Saliency Maps', section 6, compare with an edge detector.
    """
    grey = F.pad(pixels.mean(1, keepdim=True), (1, 1, 1, 1), mode="reflect")
    across = pixels.new_tensor(EDGES)
    filters = torch.stack((across, across.T))[:, None]  # (2, 1, 3, 3)
    return torch.linalg.vector_norm(F.conv2d(grey, filters), dim=1)  # (B, 2, H, W) -> (B, H, W)


def noise(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Every pixel drawn from [0, 1) on its own: (B, 3, H, W) → (B, H, W)."""
    size = (len(pixels), *pixels.shape[-2:])
    return torch.rand(size, generator=generator).to(pixels.device)


# (pixels (B, 3, H, W) normalised, generator) -> maps (B, H, W)
BASELINES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "random": noise,
    "centre": lambda pixels, _: (
        centre((pixels.shape[-2], pixels.shape[-1])).to(pixels).expand(len(pixels), -1, -1)
    ),
    "sobel": lambda pixels, _: sobel(pixels),
}

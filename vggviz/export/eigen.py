"""Eigen-CAM and EigenGradCAM by matrix products alone, since ONNX has no eigenvectors."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["eigencam", "eigengradcam"]

SQUARINGS = 18
TINY = 1e-30


def eigencam(activation: Tensor) -> Tensor:
    """As `vggviz.cam.formulas.eigencam`: (..., C, H, W) → (..., H, W)."""
    flat = _first_component(activation.flatten(-2).mT)
    signed = torch.where(flat.sum(-1, keepdim=True) < 0, -flat, flat)
    return signed.relu().unflatten(-1, activation.shape[-2:])


def eigengradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """As `vggviz.cam.formulas.eigengradcam`: (..., C, H, W) → (..., H, W)."""
    product = gradient * activation
    centred = product - product.mean((-2, -1), keepdim=True)
    flat = _first_component(centred.flatten(-2).mT)
    evidence = product.sum(-3).flatten(-2)
    signed = torch.where((flat * evidence).sum(-1, keepdim=True) < 0, -flat, flat)
    return signed.relu().unflatten(-1, activation.shape[-2:])


def _first_component(tokens: Tensor) -> Tensor:
    """X v for tokens X (..., N, C) and their first right singular vector v: (..., N).

    The Gram matrix G, squared `SQUARINGS` times and scaled between, tends to a multiple of v vᵀ:
    its column with the largest diagonal element is v, but for the scale. An eigenvalue below the
    first one by 1 in 10,000 is suppressed to e⁻²⁶.
    """
    flat = tokens.flatten(0, -3)  # (B, N, C)
    wide = flat.shape[1] < flat.shape[2]
    gram = flat @ flat.mT if wide else flat.mT @ flat
    power = gram
    for _ in range(SQUARINGS // 2):
        power = power / power.amax((1, 2), keepdim=True).clamp(min=TINY)
        power = torch.bmm(power, power)
        power = torch.bmm(power, power)  # at most n³ for n rows
    column = power.diagonal(dim1=1, dim2=2).argmax(1)[:, None, None]
    vector = power.gather(2, column.expand(-1, power.shape[1], -1))  # (B, n, 1)
    vector = vector / vector.square().sum(1, keepdim=True).sqrt().clamp(min=TINY)
    value = (vector.mT @ gram @ vector).clamp(min=0)
    found = value.sqrt() * vector if wide else flat @ vector  # X v = √λ u
    return found.reshape(tokens.shape[:-1])

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

    The Gram matrix G, squared `SQUARINGS` times and scaled to trace 1 each time, tends to v vᵀ:
    its column with the largest diagonal element is v, but for the scale. An eigenvalue below the
    first one by 1 in 10,000 is suppressed to e⁻²⁶.
    """
    wide = tokens.shape[-2] < tokens.shape[-1]
    gram = tokens @ tokens.mT if wide else tokens.mT @ tokens
    power = gram
    for _ in range(SQUARINGS):
        trace = power.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        power = power / trace.clamp(min=TINY)
        power = power @ power
    column = power.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    column = column.expand(*power.shape[:-1], 1)
    vector = power.gather(-1, column)  # (..., n, 1)
    vector = vector / vector.square().sum(-2, keepdim=True).sqrt().clamp(min=TINY)
    if wide:  # X v = √λ u
        return ((vector.mT @ gram @ vector).clamp(min=0).sqrt() * vector)[..., 0]
    return (tokens @ vector)[..., 0]

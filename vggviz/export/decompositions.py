"""Derivatives of convolutions and poolings by operators that ONNX has.

A traced backward pass holds PyTorch's own operators for these, which no exporter knows. Each entry
writes one of them, for a gradient with respect to features, by plain operators. Pooling that
averages is linear and acts on rows and columns alike: Y = P_h X P_wᵀ, so the gradient of X is
P_hᵀ G P_w, with P as PyTorch itself pools the unit matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

__all__ = ["decompositions"]

aten = torch.ops.aten
Pool = Callable[[Tensor], Tensor]


def decompositions() -> dict[Any, Callable[..., Any]]:
    """PyTorch's decompositions into its core operators, and those of this file."""
    return {
        **torch.export.default_decompositions(),
        aten._lazy_clone.default: lambda x: x.clone(),
        aten.convolution_backward.default: _convolution_backward,
        aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
        aten.avg_pool2d_backward.default: _average_pool_backward,
        aten._adaptive_avg_pool2d.default: _adaptive_pool,
        aten._adaptive_avg_pool2d_backward.default: _adaptive_pool_backward,
    }


def _convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: object,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    mask: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, None]:
    """The gradients of x and, for second derivatives, of the weight, where `mask` wants them.

    That of x is the transposed convolution of the gradient by the same weight, or the plain one
    where the convolution is a transposed one itself. `output_padding` is what gives the size of x.
    """
    if mask[1] or mask[2]:
        return NotImplemented
    if transposed:
        return (
            aten.convolution(
                gradient, weight, None, stride, padding, dilation, False, [0] * len(stride), groups
            ),
            None,
            None,
        )
    rest = [
        x.shape[axis + 2]
        - (gradient.shape[axis + 2] - 1) * step
        + 2 * pad
        - spread * (weight.shape[axis + 2] - 1)
        - 1
        for axis, (step, pad, spread) in enumerate(zip(stride, padding, dilation, strict=True))
    ]
    back = aten.convolution(gradient, weight, None, stride, padding, dilation, True, rest, groups)
    return back, None, None


def _max_pool_backward(
    gradient: Tensor,
    x: Tensor,
    kernel: object,
    stride: object,
    padding: object,
    dilation: object,
    ceil_mode: object,
    indices: Tensor,
) -> Tensor:
    """Each gradient, added at the position of its maximum: `indices` count along the rows."""
    flat = torch.zeros_like(x).flatten(-2)
    return flat.scatter_add(-1, indices.flatten(-2), gradient.flatten(-2)).reshape(x.shape)


def _average_pool_backward(
    gradient: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    include_padding: bool,
    divisor: int | None,
) -> Tensor:
    def axis(index: int) -> Pool:
        def one(both: Sequence[int], rest: int) -> tuple[int, int]:
            return (both[0], rest) if index == 0 else (rest, both[1])

        size, step, pad = one(kernel, 1), one(stride or kernel, 1), one(padding, 0)
        only = None if divisor is None else 1  # it divides once, not once an axis
        return lambda x: F.avg_pool2d(x, size, step, pad, ceil_mode, include_padding, only)

    rows, columns = _matrix(axis(0), x.shape[-2], 0), _matrix(axis(1), x.shape[-1], 1)
    return rows.to(gradient) @ (gradient / (divisor or 1)) @ columns.to(gradient).mT


def _adaptive_pool(x: Tensor, size: Sequence[int]) -> Tensor:
    rows, columns = _adaptive_matrices(x, size)
    return rows.mT @ x @ columns


def _adaptive_pool_backward(gradient: Tensor, x: Tensor) -> Tensor:
    rows, columns = _adaptive_matrices(x, gradient.shape[-2:])
    return rows @ gradient @ columns.mT


def _adaptive_matrices(x: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    high, wide = size
    rows = _matrix(lambda x: F.adaptive_avg_pool2d(x, (high, 1)), x.shape[-2], 0)
    columns = _matrix(lambda x: F.adaptive_avg_pool2d(x, (1, wide)), x.shape[-1], 1)
    return rows.to(x), columns.to(x)


def _matrix(pool: Pool, size: int, axis: int) -> Tensor:
    """Pᵀ (size, pooled size) of a pooling along rows (axis 0) or columns (1): a constant."""
    with unset_fake_temporarily(), disable_proxy_modes_tracing():
        unit = torch.eye(size)
        return pool(unit[None, :, :, None] if axis == 0 else unit[None, :, None])[0].flatten(1)

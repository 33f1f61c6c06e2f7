"""What stands in an exported graph in the place of operators that ONNX lacks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.cam import formulas
from vggviz.export import eigen
from vggviz.export.decompositions import decompositions

aten = torch.ops.aten
TABLE = decompositions()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups", "size"),
    [
        ((3, 3), [1, 1], [1, 1], [1, 1], 1, (9, 7)),
        ((3, 3), [2, 2], [1, 1], [1, 1], 1, (8, 9)),  # rows and columns that no window reaches
        ((7, 5), [3, 2], [0, 2], [1, 1], 2, (11, 10)),
        ((3, 2), [1, 2], [4, 0], [4, 3], 4, (9, 9)),
    ],
)
def test_the_gradient_of_a_convolution(
    kernel: tuple[int, int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    size: tuple[int, int],
) -> None:
    x, weight = drawn(2, 4, *size).requires_grad_(), drawn(8, 4 // groups, *kernel, seed=1)
    y = F.conv2d(x, weight, None, stride, padding, dilation, groups)
    gradient = drawn(*y.shape, seed=2)
    (expected,) = torch.autograd.grad(y, x, gradient)
    rest = stride, padding, dilation, False, [0, 0], groups, [True, False, False]
    found = TABLE[aten.convolution_backward.default](gradient, x, weight, None, *rest)
    torch.testing.assert_close(found[0], expected)


def test_the_gradient_of_a_transposed_convolution() -> None:
    x, weight = drawn(2, 4, 5, 6).requires_grad_(), drawn(4, 3, 3, 3, seed=1)
    y = F.conv_transpose2d(x, weight, None, 2, 1, 1)
    gradient = drawn(*y.shape, seed=2)
    (expected,) = torch.autograd.grad(y, x, gradient)
    rest = [2, 2], [1, 1], [1, 1], True, [1, 1], 1, [True, False, False]
    found = TABLE[aten.convolution_backward.default](gradient, x, weight, None, *rest)
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil", "counted", "divisor"),
    [
        ([2, 2], [], [0, 0], False, True, None),
        ([3, 2], [2, 1], [1, 0], False, True, None),
        ([3, 3], [2, 2], [1, 1], False, False, None),
        ([3, 3], [2, 2], [0, 1], True, True, None),
        ([2, 3], [2, 2], [0, 0], True, False, 5),
    ],
)
def test_the_gradient_of_average_pooling(
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    ceil: bool,
    counted: bool,
    divisor: int | None,
) -> None:
    x = drawn(2, 3, 8, 9).requires_grad_()
    y = F.avg_pool2d(x, kernel, stride or None, padding, ceil, counted, divisor)
    gradient = drawn(*y.shape, seed=2)
    (expected,) = torch.autograd.grad(y, x, gradient)
    how = kernel, stride, padding, ceil, counted, divisor
    found = TABLE[aten.avg_pool2d_backward.default](gradient, x, *how)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (7, 7), (8, 9)])
def test_adaptive_pooling_and_its_gradient(size: tuple[int, int]) -> None:
    x = drawn(2, 3, 8, 9).requires_grad_()
    y = F.adaptive_avg_pool2d(x, size)
    gradient = drawn(*y.shape, seed=2)
    (expected,) = torch.autograd.grad(y, x, gradient)
    pooled = TABLE[aten._adaptive_avg_pool2d.default](x, size)
    torch.testing.assert_close(pooled, y, rtol=1e-6, atol=1e-6)
    found = TABLE[aten._adaptive_avg_pool2d_backward.default](gradient, x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_gradient_of_maximum_pooling_where_windows_overlap() -> None:
    x = drawn(2, 3, 9, 9).requires_grad_()
    y, indices = F.max_pool2d_with_indices(x, 3, 2, 1)
    gradient = drawn(*y.shape, seed=2)
    (expected,) = torch.autograd.grad(y, x, gradient)
    how = [3, 3], [2, 2], [1, 1], [1, 1], False, indices
    found = TABLE[aten.max_pool2d_with_indices_backward.default](gradient, x, *how)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(2, 5, 30, 5, 4), (9, 4, 6, 7)])  # more channels, or fewer
def test_principal_components_without_eigenvectors(shape: tuple[int, ...]) -> None:
    activation = drawn(*shape).float().relu()
    gradient = drawn(*shape, seed=1).float()
    gradient[0] = 0  # an empty product has an empty map
    torch.testing.assert_close(
        eigen.eigencam(activation), formulas.eigencam(activation), rtol=1e-4, atol=1e-4
    )
    found = eigen.eigengradcam(activation, gradient)
    torch.testing.assert_close(
        found, formulas.eigengradcam(activation, gradient), rtol=1e-4, atol=1e-4
    )
    assert not found[0].any()
    assert found[1].any()

"""CAM methods: hand-made answers, slow twins, classic CAM."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import FORMULA_TWINS
from torch import Tensor, nn

from vggviz.cam import METHODS, cams, formulas
from vggviz.cam.perturbation import scorecam
from vggviz.hooks.capture import capture
from vggviz.networks import Network

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]

GRADIENT = [name for name, method in METHODS.items() if method.needs == "gradient"]


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# By hand -------------------------------------------------------------------------------------


@pytest.fixture
def arange_model() -> nn.Module:
    """One convolution on the 4×4 picture 0 … 15, then one linear layer: all exact in floats.

    Channel 0 sums each 2×2 cell, channel 1 takes its first pixel minus its last:
      0  1 |  2  3        A_0 = 10 18     A_1 = -5 -5
      4  5 |  6  7              42 50           -5 -5
     ------+------
      8  9 | 10 11
     12 13 | 14 15
    The linear layer's weights are the gradients of the two logits:
     class 0: g_0 = 1 2   g_1 = 4 0       class 1: g_0 = -1 -1   g_1 = -4 -4
                    3 4         0 0                      -1  1         -4  0
    """
    model = nn.Sequential(nn.Conv2d(1, 2, 2, 2, bias=False), nn.Flatten())
    model.append(nn.Linear(8, 2, bias=False))
    cells = torch.tensor([[[[1, 1], [1, 1]]], [[[1, 0], [0, -1]]]])
    rows = torch.tensor([[1, 2, 3, 4, 4, 0, 0, 0], [-1, -1, -1, 1, -4, -4, -4, 0]])
    model[0].weight = nn.Parameter(cells.double())
    model[2].weight = nn.Parameter(rows.double())
    return model.double()


T = 5622436**0.5 - 2294
BY_HAND = {
    # class 0: w = (1+2+3+4)/4 = 2.5, 4/4 = 1: 2.5·(10, 18, 42, 50) - 5
    # class 1: w = -2/4 = -0.5, -12/4 = -3: relu(-0.5·(10, 18, 42, 50) + 15)
    "gradcam": ([20, 40, 100, 120], [10, 6, 0, 0]),
    # class 0: relu((10, 36, 126, 200) + (-20, 0, 0, 0))
    # class 1: relu((-10, -18, -42, 50) + (20, 20, 20, 0))
    "hirescam": ([0, 36, 126, 200], [10, 2, 0, 50]),
    # class 0: its gradients are positive already; class 1: only one of them is, g_0 = 1 at A_0 = 50
    "layercam": ([0, 36, 126, 200], [0, 0, 0, 50]),
    # class 0: w = (10+36+126+200)/120 = 3.1, -20/-20 = 1: 3.1·(10, 18, 42, 50) - 5
    # class 1: w = (-10-18-42+50)/120 = -1/6, 60/-20 = -3: relu(-(10, 18, 42, 50)/6 + 15)
    "xgradcam": ([26, 50.8, 125.2, 150], [15 - 10 / 6, 12, 8, 15 - 50 / 6]),
    # α = g²/(2g² + g³ Σ A) = 1/(2 + g Σ A), Σ A_0 = 120, Σ A_1 = -20, weights Σ α relu(g):
    # class 0: w_0 = 1/122 + 2/242 + 3/362 + 4/482 = p, w_1 = 4/(2 - 80) = -2/39
    # class 1: w_0 = 1/122, w_1 = 0
    "gradcam++": (
        [(1 / 122 + 2 / 242 + 3 / 362 + 4 / 482) * a + 10 / 39 for a in (10, 18, 42, 50)],
        [a / 122 for a in (10, 18, 42, 50)],
    ),
    # No class: AᵀA holds 10²+18²+42²+50² = 4688, -5·120 = -600 and 4·25 = 100. Its larger
    # eigenvalue is 2394 + √(2294² + 600²) = 4688 + t, its vector (600, -t), t = √5622436 - 2294.
    "eigencam": ([(600 * a + 5 * T) / (600**2 + T**2) ** 0.5 for a in (10, 18, 42, 50)],) * 2,
}


@pytest.mark.parametrize("method", BY_HAND)
def test_by_hand(method: str, arange_model: nn.Module, untouched: Untouched) -> None:
    picture = torch.arange(16, dtype=torch.float64).reshape(1, 1, 4, 4)
    with untouched(arange_model):
        found = cams(arange_model, picture, ["0"], (method,), torch.tensor([0, 1]))
    assert found.logits.tolist() == [[352.0, 40.0]]  # 10+36+126+200-20; -10-18-42+50+60
    expected = torch.tensor(BY_HAND[method], dtype=torch.float64).reshape(2, 1, 2, 2)
    torch.testing.assert_close(found.maps["0", method], expected, rtol=0, atol=1e-12)


def test_every_method_but_those_that_need_more_is_worked_by_hand() -> None:
    more = {name for name, method in METHODS.items() if method.needs in ("attention", "passes")}
    assert set(BY_HAND) | more == set(METHODS)


@pytest.mark.parametrize("layer", ["pool5", "block5"])
def test_gradcam_before_gap_and_linear_is_classic_cam(
    layer: str, small_vgg: Build, pictures: Draw
) -> None:
    """Zhou et al. 2016, eq. 2: M(x, y) = Σ_k w_k f_k(x, y); Grad-CAM is relu(M) / N."""
    options = {} if layer == "pool5" else {"attention": "cbam", "placement": "after_pool"}
    model, x = small_vgg(dtype=torch.float64, **options).eval(), pictures(2, 96).double()
    path, classes = model.path(layer), torch.arange(10)
    with torch.no_grad(), capture(model, [path]) as trace:
        model(x)
    features = trace.outputs[path]
    assert features.shape == (2, 64, 3, 3)
    classic = torch.einsum("tc,bchw->tbhw", model.classifier[0].weight, features).detach()
    assert (classic > 0).float().mean() > 0.2
    found = cams(model, x, [path], ("gradcam",), classes).maps[path, "gradcam"]
    torch.testing.assert_close(found * 9, classic.relu())


# Twins ---------------------------------------------------------------------------------------


def test_every_method_has_a_twin() -> None:
    assert set(FORMULA_TWINS) == set(METHODS)


@pytest.mark.parametrize("method", GRADIENT)
@pytest.mark.parametrize("kind", ["signed", "rectified", "sparse", "single position"])
def test_formulas_equal_their_twins(method: str, kind: str) -> None:
    """(T, B, C, H, W) gradients on (B, C, H, W) activations, against one (C, H, W) at a time."""
    size = (1, 1) if kind == "single position" else (4, 6)
    activation, gradient = draw(2, 5, *size, seed=1), draw(3, 2, 5, *size, seed=2)
    if kind in ("rectified", "sparse"):
        activation = activation.relu()
    if kind == "sparse":  # dead channels, and positions that no gradient reaches
        activation = activation * torch.tensor([1, 0, 1, 1, 0.0])[:, None, None]
        gradient = gradient * (draw(*gradient.shape, seed=3) > 0.5)
    found = METHODS[method].function(activation, gradient)
    assert found.shape == (3, 2, *size)
    for t, b in itertools.product(range(3), range(2)):
        twin = FORMULA_TWINS[method](activation[b], gradient[t, b])
        torch.testing.assert_close(found[t, b], twin, rtol=1e-9, atol=1e-12)
    assert found.max() > 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shape", [(5, 4, 6), (30, 3, 2), (1, 4, 4), (3, 1, 1)])
def test_eigencam(sign: int, shape: tuple[int, int, int]) -> None:
    activation = draw(2, *shape, seed=4) * sign
    found = formulas.eigencam(activation)
    for one, values in zip(found, activation, strict=True):
        torch.testing.assert_close(one, FORMULA_TWINS["eigencam"](values), rtol=1e-8, atol=1e-9)
        matrix = values.flatten(1).T.numpy()  # (N, C)
        u, s, _ = np.linalg.svd(matrix, full_matrices=False)
        map_ = (u[:, 0] * s[0]).reshape(shape[1:])
        map_ = -map_ if map_.sum() < 0 else map_
        np.testing.assert_allclose(one, map_.clip(min=0), atol=1e-9)
        assert one.sum() > 0  # so the sign was not left to the solver
    torch.testing.assert_close(formulas.eigencam(-activation), found)


@pytest.mark.parametrize("shape", [(30, 3, 2), (6, 5, 6)])
def test_eigencam_decomposes_the_smaller_gram_matrix(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []
    eigh = np.linalg.eigh

    def noting(matrix: Any) -> Any:
        sizes.append(matrix.shape)
        return eigh(matrix)

    monkeypatch.setattr(np.linalg, "eigh", noting)
    formulas.eigencam(draw(2, *shape, seed=4))
    assert sizes == [(2, 6, 6)]


def test_eigencam_in_single_precision() -> None:
    """Singular values so close that a float32 Gram matrix could not tell their vectors apart."""
    u, v = torch.linalg.qr(draw(36, 4, seed=5))[0], torch.linalg.qr(draw(4, 4, seed=6))[0]
    matrix = u @ torch.tensor([1000, 999.99, 5, 1], dtype=torch.float64).diag() @ v.T  # (N, C)
    activation = matrix.T.reshape(4, 6, 6).float()
    twin = FORMULA_TWINS["eigencam"](activation).float()
    torch.testing.assert_close(formulas.eigencam(activation), twin, rtol=1e-5, atol=1e-3)


class Counting(nn.Module):
    """A small differentiable predictor that notes the batches it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(3, 3, 8, 8, seed=6))
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        return torch.einsum("bchw,kchw->bk", x, self.weight.to(x)).tanh() * 4


@pytest.mark.parametrize("batch", [1, 3, 7, 32])
def test_scorecam_equals_its_twin_at_any_batch_size(batch: int) -> None:
    predict, image, activation = Counting(), draw(3, 8, 8, seed=7), draw(7, 4, 3, seed=8)
    activation = torch.cat([activation[:6].relu(), torch.full_like(activation[:1], 2.5)])
    steps: list[tuple[int, int]] = []
    targets = torch.tensor([2, 0, 2])
    found = scorecam(
        predict, image, activation, targets, batch=batch, progress=lambda *now: steps.append(now)
    )
    full, rest = divmod(7, batch)
    assert predict.batches == [batch] * full + [rest] * (rest > 0)
    assert steps == [(min(at + batch, 7), 7) for at in range(0, 7, batch)]
    assert not found.requires_grad
    assert found.shape == (3, 4, 3)
    for row, target in enumerate(targets.tolist()):
        with torch.no_grad():
            twin = FORMULA_TWINS["scorecam"](predict, image, activation, target)
        torch.testing.assert_close(found[row], twin)
    assert not torch.allclose(found[0], found[1])


def test_scorecam_through_the_driver(
    small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    """Against a slow loop that asks the network for one masked picture at a time."""
    model = small_vgg(attention="cbam", architecture="vgg19_bn", dtype=torch.float64).train()
    x, targets = pictures(2, 32).double(), torch.tensor([[0, 1], [5, 2]])
    path = model.path("block2")
    with untouched(model):
        found = cams(model, x, [path], ("scorecam",), targets).maps[path, "scorecam"]
    model.eval()
    with torch.no_grad(), capture(model, [path]) as trace:
        model(x)
    with torch.no_grad():
        for t, b in itertools.product(range(2), range(2)):
            activation = trace.outputs[path][b]
            scores: list[Tensor] = []
            for channel in activation:
                mask = channel - channel.min()
                mask = mask / mask.max() if mask.max() > 0 else mask
                mask = F.interpolate(mask[None, None], (32, 32), mode="bilinear")
                scores.append(model(x[b : b + 1] * mask)[0, targets[t, b]])
            weights = torch.stack(scores).softmax(0)
            slow = (weights[:, None, None] * activation).sum(0).relu()
            torch.testing.assert_close(found[t, b], slow)
    assert found.max() > 0

"""CAM methods: hand-made answers, slow twins, classic CAM."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference import FORMULA_TWINS, SCORE_TWINS
from torch import Tensor, nn

from vggviz.cam import METHODS, cams, formulas
from vggviz.cam.perturbation import ablationcam, scorecam
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


def component(gram: Sequence[float], one: Sequence[float], other: Sequence[float]) -> list[float]:
    a, b, d = gram
    top = (a + d) / 2 + (((a - d) / 2) ** 2 + b**2) ** 0.5
    v, w = (x / math.hypot(b, top - a) for x in (abs(b), (top - a) * (1 if b > 0 else -1)))
    return [max(v * x + w * y, 0) for x, y in zip(one, other, strict=True)]


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
    # class 0: (10, 36, 126, 200) + relu(-20, 0, 0, 0); class 1: relu(-10, -18, -42, 50) + ...
    "gradcam-elementwise": ([10, 36, 126, 200], [20, 20, 20, 50]),
    # class 0: w = (2.5, 1) - 0.6·(-0.5, -3) = (2.8, 2.8); class 1: (-0.5, -3) - 0.6·(2.5, 1): w_0 =
    # -2, w_1 = -3.6, and -2·(10, 18, 42, 50) + 18 is below 0 everywhere
    "finercam": ([2.8 * a - 14 for a in (10, 18, 42, 50)], [0, 0, 0, 0]),
    # class 0: P - mean = (-83, -57, 33, 107), (-15, 5, 5, 5): PᵀP holds 22676, 1660 and 300
    # class 1: (-5, -13, -37, 55), (5, 5, 5, -15): 4588, -1100 and 300. The larger eigenvalue of
    # (a, b; b, d) is (a + d)/2 + √(((a - d)/2)² + b²) = λ, its vector (b, λ - a) turned so that the
    # map rises with P_0 + P_1: (-10, 36, 126, 200) and (10, 2, -22, 50).
    "eigengradcam": (
        component((22676, 1660, 300), (-83, -57, 33, 107), (-15, 5, 5, 5)),
        component((4588, -1100, 300), (-5, -13, -37, 55), (5, 5, 5, -15)),
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
    known = ("gradient", "activation")
    more = {name for name, method in METHODS.items() if method.needs not in known}
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
    assert (found.max() > 0) == ((method, kind) != ("eigengradcam", "single position"))


def test_shapleycam_equals_its_twin() -> None:
    activation, *slopes = (draw(2, 5, 4, 6, seed=seed) for seed in range(3))
    for b, found in enumerate(formulas.shapleycam(activation, *slopes)):
        twin = FORMULA_TWINS["shapleycam"](activation[b], *(one[b] for one in slopes))
        torch.testing.assert_close(found, twin)
        assert not torch.allclose(found, formulas.gradcam(activation[b], slopes[0][b]))


@pytest.mark.parametrize("flat", [None, 0, 1])
def test_refinecam_equals_its_twin(flat: int | None) -> None:
    sizes = [(6, 8), (3, 4), (2, 2)]
    activations = [draw(2, 5, *size, seed=seed).abs() for seed, size in enumerate(sizes)]
    slopes = [draw(3, 2, 5, *size, seed=seed + 9) for seed, size in enumerate(sizes)]
    if flat is not None:  # nothing of this layer counts
        slopes[flat] = torch.zeros_like(slopes[flat])
    found = formulas.refinecam(activations, slopes)
    assert (found.max() > 0) == (flat != 0)
    for t, b in itertools.product(range(3), range(2)):
        twin = FORMULA_TWINS["refinecam"]([a[b] for a in activations], [g[t, b] for g in slopes])
        torch.testing.assert_close(found[t, b], twin)


@pytest.mark.parametrize("method", SCORE_TWINS)
@pytest.mark.parametrize("classes", [1, 2, 3, 7])
def test_scores_and_their_slopes_equal_their_twins(method: str, classes: int) -> None:
    logits, step = draw(2, classes, seed=3) * 3, 1e-6
    targets = torch.tensor([[0, classes - 1], [classes // 2, 0]])
    found = METHODS[method].score(logits, targets)
    slopes = torch.func.jacrev(METHODS[method].score)(logits, targets)  # (T, B, B, K)
    for t, b in itertools.product(range(2), range(2)):
        row, target = logits[b].tolist(), int(targets[t, b])
        value = SCORE_TWINS[method](row, target)
        assert float(found[t, b]) == pytest.approx(value)
        for k in range(classes):
            moved = [y + step * (d == k) for d, y in enumerate(row)]
            slope = (SCORE_TWINS[method](moved, target) - value) / step
            assert float(slopes[t, b, b, k]) == pytest.approx(slope, abs=1e-4)


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


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_ablationcam_equals_its_twin_at_any_batch_size(batch: int) -> None:
    resume, image, activation = Counting(), draw(3, 8, 8, seed=7), draw(3, 8, 8, seed=8)
    steps: list[tuple[int, int]] = []
    targets = torch.tensor([2, 0, 2])
    found = ablationcam(
        resume, image, activation, targets, batch=batch, progress=lambda *now: steps.append(now)
    )
    assert steps == [(min(at + batch, 3), 3) for at in range(0, 3, batch)]
    for row, target in enumerate(targets.tolist()):
        with torch.no_grad():
            twin = FORMULA_TWINS["ablationcam"](resume, image, activation, target)
        torch.testing.assert_close(found[row], twin)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("layer", ["block2", "relu3_1", "attention.block2.module.spatial.conv"])
def test_ablationcam_through_the_driver(
    layer: str, small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    """Against a slow loop in which a hook zeroes one channel of the layer at a time."""
    model = small_vgg(attention="cbam", dtype=torch.float64).train()
    x, targets = pictures(2, 32).double(), torch.tensor([[0, 1], [5, 2]])
    path = model.path(layer)
    with untouched(model):
        found = cams(model, x, [path], ("ablationcam",), targets).maps[path, "ablationcam"]
    model.eval()
    with torch.no_grad(), capture(model, [path]) as trace:
        logits = model(x)
    lost = []
    for c in range(trace.outputs[path].shape[1]):
        handle = model.get_submodule(path).register_forward_hook(
            lambda _, __, out, c=c: out.index_fill(1, torch.tensor(c), 0)
        )
        with torch.no_grad():
            lost.append(logits - model(x))
        handle.remove()
    weights = torch.stack(lost).gather(2, targets.T.expand(len(lost), 2, 2))  # (C, B, T)
    slow = torch.einsum("cbt,bchw->tbhw", weights, trace.outputs[path]).relu()
    torch.testing.assert_close(found, slow)
    assert found.max() > 0


def test_shapleycam_through_the_driver(
    small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    """Its second derivative against differences of gradients, at a layer with attention above."""
    model = small_vgg(attention="se", dtype=torch.float64).train()
    x, targets = pictures(2, 32).double(), torch.tensor([[0, 1], [5, 2]])
    path = model.path("block3")
    with untouched(model):
        found = cams(model, x, [path], ("shapleycam",), targets).maps[path, "shapleycam"]
    model.eval()

    def slopes(scale: float) -> tuple[Tensor, Tensor]:
        """Activations (B, C, H, W), and gradients (T, B, C, H, W) at so many times these."""
        seen: list[Tensor] = []

        def scaled(_: nn.Module, __: object, output: Tensor) -> Tensor:
            seen.append((output.detach() * scale).requires_grad_())
            return seen[-1]

        handle = model.get_submodule(path).register_forward_hook(scaled)
        scores = METHODS["shapleycam"].score(model(x), targets)
        handle.remove()
        each = [torch.autograd.grad(one.sum(), seen[0], retain_graph=True)[0] for one in scores]
        return seen[0].detach() / scale, torch.stack(each)

    activation, gradient = slopes(1)
    curvature = (slopes(1 + 1e-6)[1] - slopes(1 - 1e-6)[1]) / 2e-6
    assert float(curvature.abs().max() / gradient.abs().max()) > 1e-3
    slow = formulas.shapleycam(activation, gradient, curvature)
    torch.testing.assert_close(found, slow, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("asked", [["block4"], ["block4", "conv2_1", "block1"]])
def test_refinecam_combines_all_later_stages_whatever_is_asked_for(
    asked: list[str], small_vgg: Build, pictures: Draw
) -> None:
    model, x = small_vgg(attention="se").eval(), pictures(2, 32)
    paths = [model.path(name) for name in asked]
    found = cams(model, x, paths, ("refinecam",), (1, 2)).maps
    later = [model.path(f"block{n}") for n in (4, 5)]
    with capture(model, later, graph=later) as trace, torch.no_grad():
        logits = model(x)
    outputs = [trace.outputs[path] for path in later]
    each = [torch.autograd.grad(logits[:, k].sum(), outputs, retain_graph=True) for k in (1, 2)]
    slopes = [torch.stack(one) for one in zip(*each, strict=True)]
    slow = formulas.refinecam([one.detach() for one in outputs], slopes)
    torch.testing.assert_close(found[paths[0], "refinecam"], slow)
    assert found[paths[0], "refinecam"].max() > 0

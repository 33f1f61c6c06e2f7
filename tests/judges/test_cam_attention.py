"""attention*gradient: by hand for every kind of tap, its slow twin, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from reference import FORMULA_TWINS
from torch import Tensor, nn

from vggviz.cam import cams, formulas
from vggviz.hooks.capture import TapReading, capture
from vggviz.hooks.tap import Tap
from vggviz.networks import Network
from vggviz.types import Grid, Kind

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]

METHOD = "attention*gradient"
OVER_POSITIONS = ["gate", "spatial", "cbam", "self_attention", "softmax", "simam"]


class Stage(nn.Module):
    """Given weights, tapped, on the features x = 1 2 / 3 4 (one channel, or a second 0 1 / 1 0)."""

    def __init__(self, kind: Kind, weights: Tensor, keys: Grid | None = None) -> None:
        super().__init__()
        self.weights = weights
        self.tap = Tap(kind)
        self.keys = keys

    def forward(self, x: Tensor) -> Tensor:
        batch = len(x)
        a = self.tap(self.weights.expand(batch, *self.weights.shape), (2, 2), self.keys)
        if self.tap.kind == "spatial":
            return x * a[:, None]
        if self.tap.kind == "volume":
            return x * a
        if self.tap.kind == "pool":  # the context is added to every position
            return x + (x.flatten(2) @ a[:, :, None])[..., None]
        values = x[:, :, 0, :]  # (B, 1, 2): the keys are the two positions of the first row
        mixed = (a @ values.mT[:, None]).mean(1)  # (B, heads, 4, 2) @ (B, 1, 2, 1) -> (B, 4, 1)
        return x + mixed.mT.reshape(batch, 1, 2, 2)


def tensor(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


X = tensor([[[1, 2], [3, 4]], [[0, 1], [1, 0]]])  # (1, 2, 2, 2)
HEAD = [1, -1, 2, 0.5]
# The stage, its channels, the head h of class 0 (that of class 1 is -h), and the maps of both.
BY_HAND: dict[str, tuple[Stage, int, list[float], list[list[float]], list[list[float]]]] = {
    # y = Σ_j h_j a_j x_j, so ∂y/∂a = h x = (1, -2, 6, 2); a ∂y/∂a = (0.5, -0.5, 6, 1.5).
    "spatial": (
        Stage("spatial", tensor([0.5, 0.25], [1, 0.75])),
        1,
        HEAD,
        [[0.5, 0], [6, 1.5]],
        [[0, 0.5], [0, 0]],
    ),
    # Channel 0 as above; channel 1, h = (3, 3, -3, 3): ∂y/∂a = (0, 3, -3, 0), a = (1, 0.5, 3, 1):
    # (0, 1.5, -9, 0). Over channels (0.5, 1, -3, 1.5), and only then the ReLU.
    "volume": (
        Stage("volume", tensor([[0.5, 0.25], [1, 0.75]], [[1, 0.5], [3, 1]])),
        2,
        [*HEAD, 3, 3, -3, 3],
        [[0.5, 1], [0, 1.5]],
        [[0, 0], [3, 0]],
    ),
    # The context Σ_j a_j x_j reaches every position: ∂y/∂a_j = (Σ h) x_j = 2.5 (1, 2, 3, 4).
    "pool": (
        Stage("pool", tensor(0.1, 0.2, 0.3, 0.4)),
        1,
        HEAD,
        [[0.25, 1], [2.25, 4]],
        [[0, 0], [0, 0]],
    ),
    # Two heads of four queries on two keys of values (1, 2): y = Σ_n h_n Σ_m mean_heads(A_nm) v_m,
    # so ∂y/∂A_nm = h_n v_m / 2 in both heads: (0.5, 1), (-0.5, -1), (1, 2), (0.25, 0.5).
    # A ∂y/∂A: head 0 (0.25, 0.5), (-0.15, -0.7), (1, 0), (0.2, 0.1),
    #          head 1 (0, 1), (-0.45, -0.1), (0.5, 1), (0.1, 0.3).
    # The positive ones sum to 2.05 and 2.9 over heads and queries, the negative ones to -0.6 and
    # -0.8; the mean over both is an eighth of that.
    "token": (
        Stage(
            "token",
            tensor(
                [[0.5, 0.5], [0.3, 0.7], [1, 0], [0.8, 0.2]],
                [[0, 1], [0.9, 0.1], [0.5, 0.5], [0.4, 0.6]],
            ),
            (1, 2),
        ),
        1,
        HEAD,
        [[2.05 / 8, 2.9 / 8]],
        [[0.6 / 8, 0.8 / 8]],
    ),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_by_hand(kind: str, untouched: Untouched) -> None:
    stage, channels, head, *expected = BY_HAND[kind]
    model = nn.Sequential(stage, nn.Flatten(), nn.Linear(len(head), 2, bias=False)).double()
    model[2].weight = nn.Parameter(tensor(head, [-value for value in head]))
    x = X[:, :channels].expand(2, -1, -1, -1)
    with untouched(model):
        found = cams(model, x, ["0"], (METHOD,), torch.tensor([0, 1]))
    for picture in range(2):
        torch.testing.assert_close(found.maps["0", METHOD][:, picture], tensor(*expected))
        assert torch.equal(found.taps["0.tap"].weights[picture], stage.weights)


def test_the_formulas_alone() -> None:
    a, g = tensor([0.5, 0.25, 1]), tensor([2, -4, 3])
    assert formulas.attention_gradient(a, g).tolist() == [[1, 0, 3]]
    # One head, two queries, three keys; the second query's gradients are 0, 8 and -1.
    a, g = torch.cat([a, a])[None], torch.cat([g, tensor([0, 8, -1])])[None]
    assert formulas.token_gradient(a, g).tolist() == [0.5, 1, 1.5]


def tap_over_positions(model: Network) -> str:
    taps = [path for path, m in model.named_modules() if isinstance(m, Tap) and m.kind != "channel"]
    assert len(taps) == 1
    return taps[0]


@pytest.fixture(params=OVER_POSITIONS)
def attending(request: pytest.FixtureRequest, small_vgg: Build) -> Network:
    """A network with attention at block5, of every type that weighs positions, in turn."""
    options = {"attention": request.param, "stages": ("block5",), "dtype": torch.float64}
    return small_vgg(**options).eval()


def looked_at(model: Network, x: Tensor, target: int) -> tuple[TapReading, Tensor]:
    """The tap's weights and their gradient of a logit, by plain autograd."""
    tap = tap_over_positions(model)
    with capture(model, graph=[tap]) as trace, torch.no_grad():
        logits = model(x)
    reading = trace.taps[tap]
    return reading, torch.autograd.grad(logits[0, target], reading.weights)[0][0]


def test_maps_equal_their_twins(attending: Network, pictures: Draw, untouched: Untouched) -> None:
    x, path = pictures(1, 48).double(), attending.path("block5")
    with untouched(attending):
        found = cams(attending, x, [path], (METHOD, "gradcam"), torch.arange(3))
    for target, raw in enumerate(found.maps[path, METHOD][:, 0]):
        reading, gradient = looked_at(attending, x, target)
        grid = reading.keys or reading.grid
        assert grid == (3, 3)
        weights = reading.weights[0].detach()
        twin = FORMULA_TWINS[METHOD](weights, gradient, reading.kind, grid)
        torch.testing.assert_close(raw, twin)
    assert found.maps[path, METHOD].max() > 0


def test_gradients_equal_finite_differences(attending: Network, pictures: Draw) -> None:
    """(y(a + ε) − y(a − ε)) / 2ε for up to 64 of the weights, each in a picture of its own."""
    x, target, step = pictures(1, 32).double(), 3, 1e-6
    _, gradient = looked_at(attending, x, target)
    chosen = torch.arange(0, gradient.numel(), max(1, gradient.numel() // 64))
    shifts = torch.eye(gradient.numel(), dtype=torch.float64)[chosen] * step
    shifts = shifts.reshape(len(chosen), *gradient.shape)
    logits: list[Tensor] = []
    for shift in (shifts, -shifts):
        tap = attending.get_submodule(tap_over_positions(attending))
        handle = tap.register_forward_hook(lambda _, __, weights, shift=shift: weights + shift)
        with torch.no_grad():
            logits.append(attending(x.expand(len(chosen), -1, -1, -1))[:, target])
        handle.remove()
    slopes = (logits[0] - logits[1]) / (2 * step)
    assert slopes.abs().max() > 1e-3
    torch.testing.assert_close(gradient.flatten()[chosen], slopes, rtol=1e-5, atol=1e-7)


def test_stages_of_several_kinds_at_once(small_vgg: Build, pictures: Draw) -> None:
    """Each stage's map is that of its own tap, on its own grid; a plain layer has none."""
    model = small_vgg(attention="cbam", dtype=torch.float64).eval()
    x, paths = pictures(2, 32).double(), [model.path(f"block{block}") for block in (1, 3, 5)]
    found = cams(model, x, [*paths, "features.0"], (METHOD,), torch.tensor([1, 2, 3]))
    assert set(found.maps) == {(path, METHOD) for path in paths}
    sizes = [found.maps[path, METHOD].shape for path in paths]
    assert sizes == [(3, 2, 32, 32), (3, 2, 8, 8), (3, 2, 2, 2)]
    tap = "attention.block3.module.spatial.spatial"
    with capture(model, graph=[tap]) as trace, torch.no_grad():
        logits = model(x)
    weights = trace.taps[tap].weights
    gradient = torch.autograd.grad(logits[1, 2], weights)[0][1]
    expected = (weights[1] * gradient).detach().relu()
    torch.testing.assert_close(found.maps[paths[1], METHOD][1, 1], expected)

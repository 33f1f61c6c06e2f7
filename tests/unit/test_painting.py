"""Painted attention weights against networks written out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vggviz.attention import ATTENTION
from vggviz.cache import Cache
from vggviz.explainer import Explainer
from vggviz.hooks.capture import capture
from vggviz.networks import Network
from vggviz.networks.foreign import ForeignNetwork
from vggviz.networks.paint_code import decode, encode, read_mask
from vggviz.networks.painting import (
    MOST_CELLS,
    PaintGround,
    paint,
    paint_grounds,
    painted_logits,
    painted_weights,
)
from vggviz.types import InputError
from vggviz.weights import assets_folder

EXAMPLES = assets_folder() / "examples"
GOALS = [
    entry
    for entry in json.loads((EXAMPLES / "examples.json").read_text("utf-8"))
    if "goal" in entry
]
STAGES = ("block3", "block4", "block5")
Untouched = Callable[[nn.Module], AbstractContextManager[None]]


def pixels(side: int = 64) -> Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def mask_of(size: tuple[int, int]) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def by_hand(
    network: Network, stage: str, attended: Callable[[nn.Module, Tensor], Tensor]
) -> Tensor:
    """The logits with `attended` in the place of the attention module's output at one stage."""
    part: Any = network.attention[stage]
    x = network.features_before(pixels(), stage)
    y = attended(part.module, x)
    y = y if part.gamma is None else x + part.gamma * (y - x)
    return network.logits_after(y, stage)[0]


WRITTEN: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "cbam": lambda module, x, m: module.channel(x) * m,
    "spatial": lambda module, x, m: x * m,
    "gate": lambda module, x, m: x * m,
    "bam": lambda module, x, m: x * (1 + m),
    "se": lambda module, x, m: x * m.reshape(1, -1, 1, 1),
    "softmax": lambda module, x, m: (
        x + module.transform((x * m / m.sum()).sum((2, 3)))[:, :, None, None]
    ),
}


@pytest.mark.parametrize("attention", WRITTEN)
def test_paint_is_the_network_written_out(
    small_vgg: Callable[..., Network], untouched: Untouched, attention: str
) -> None:
    network = small_vgg(attention=attention, stages=STAGES).eval()
    for stage in network.attention:
        ground = paint_grounds(network, pixels()).stages[stage]
        mask = mask_of(ground.size)
        with untouched(network):
            found = painted_logits(network, ground, mask)
        expected = by_hand(network, stage, lambda module, x: WRITTEN[attention](module, x, mask))  # noqa: B023
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found, paint_grounds(network, pixels()).logits, atol=1e-4)


def test_other_stages_keep_their_attention(small_vgg: Callable[..., Network]) -> None:
    """Also where the whole network runs, with weights of the same kind before the stage."""
    network = small_vgg(attention="spatial", stages=STAGES).eval()
    ground = paint_grounds(network, pixels()).stages["block5"]
    mask = mask_of(ground.size)
    with torch.no_grad(), capture(network) as own:
        network(pixels())
    with torch.no_grad(), paint(network, ground, mask), capture(network) as trace:
        found = network(pixels())[0]
    torch.testing.assert_close(found, painted_logits(network, ground, mask))
    for stage in ("block3", "block4", "block5"):
        tap = f"attention.{stage}.module.spatial"
        expected = mask[None] if stage == "block5" else own.taps[tap].weights
        torch.testing.assert_close(trace.taps[tap].weights, expected)


@pytest.mark.parametrize("attention", ["cbam", "spatial", "se", "eca", "softmax"])
def test_the_learned_weights_painted_back_change_nothing(
    small_vgg: Callable[..., Network], attention: str
) -> None:
    network = small_vgg(attention=attention, stages=STAGES).eval()
    grounds = paint_grounds(network, pixels())
    with torch.no_grad():
        torch.testing.assert_close(grounds.logits, network(pixels())[0])
    assert set(grounds.stages) == set(network.attention)
    for ground in grounds.stages.values():
        again = painted_logits(network, ground, ground.learned)
        rounding = 1e-5 if attention == "softmax" else 1e-6  # which is divided and multiplied
        torch.testing.assert_close(again, grounds.logits, rtol=0, atol=rounding)


def test_which_kinds_are_painted_on(small_vgg: Callable[..., Network]) -> None:
    kinds: dict[str, set[str]] = {}
    for attention in ("none", *ATTENTION):
        network = small_vgg(attention=attention, stages=STAGES).eval()
        kinds[attention] = {one.kind for one in paint_grounds(network, pixels()).stages.values()}
    assert {key: kind for key, (kind,) in ((k, v) for k, v in kinds.items() if v)} == {
        **dict.fromkeys(("gate", "simam", "bam"), "volume"),
        **dict.fromkeys(("se", "eca"), "channel"),
        **dict.fromkeys(("spatial", "cbam", "triplet"), "spatial"),
        "softmax": "pool",
    }


def test_a_network_that_cannot_be_run_from_a_stage_says_so() -> None:
    network = ForeignNetwork(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(5)), 16)
    with pytest.raises(InputError) as refused:
        paint_grounds(network, pixels(16))
    assert refused.value.code == "not_from_stage"


def ground(kind: Any, weights: Tensor, grid: tuple[int, int]) -> PaintGround:
    return PaintGround("block4", kind, torch.zeros(1, 2, *grid), weights, grid)


def test_weights_by_hand() -> None:
    mask = torch.tensor([[0.0, 0.25], [0.5, 1.0]])
    spatial = painted_weights("spatial", torch.full((1, 2, 2), 0.5), mask, (2, 2))
    torch.testing.assert_close(spatial, mask[None])
    strong = painted_weights("spatial", torch.tensor([[[1.0, 3.0], [2.0, 0.0]]]), mask, (2, 2))
    torch.testing.assert_close(strong, 3 * mask[None])
    volume = painted_weights("volume", torch.full((1, 3, 2, 2), 0.5), mask, (2, 2))
    torch.testing.assert_close(volume, mask.expand(1, 3, 2, 2))
    pool = painted_weights("pool", torch.full((1, 4), 0.25), mask, (2, 2))
    torch.testing.assert_close(pool, torch.tensor([[0, 1 / 7, 2 / 7, 4 / 7]]))
    channel = painted_weights(
        "channel", torch.full((1, 3), 0.5), torch.tensor([[0, 0.5, 1]]), (2, 2)
    )
    torch.testing.assert_close(channel, torch.tensor([[0, 0.5, 1]]))
    with pytest.raises(InputError):
        painted_weights("pool", torch.full((1, 4), 0.25), torch.zeros(2, 2), (2, 2))
    dark = painted_weights("spatial", torch.full((1, 2, 2), 0.5), torch.zeros(2, 2), (2, 2))
    assert not dark.any()


def test_learned_masks_by_hand() -> None:
    weights = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    torch.testing.assert_close(ground("spatial", weights, (2, 2)).learned, weights)
    pool = ground("pool", weights.flatten(), (2, 2)).learned
    torch.testing.assert_close(pool, weights / 0.4)
    torch.testing.assert_close(ground("spatial", 4 * weights, (2, 2)).learned, weights / 0.4)
    volume = ground("volume", torch.stack((weights, 3 * weights / 2)), (2, 2)).learned
    torch.testing.assert_close(volume, 1.25 * weights)
    channel = ground("channel", torch.tensor([0.2, 0.9]), (2, 2))
    assert channel.size == (1, 2)
    torch.testing.assert_close(channel.learned, torch.tensor([[0.2, 0.9]]))


def test_a_fine_grid_is_painted_on_coarser_cells() -> None:
    fine = ground("spatial", torch.rand(56, 40), (56, 40))
    assert fine.size == (MOST_CELLS, MOST_CELLS)
    assert fine.learned.shape == fine.size
    torch.testing.assert_close(fine.learned[0, 0], fine.weights[:2, :2].mean(), rtol=1, atol=0.3)
    mask = torch.full(fine.size, 0.5)
    found = painted_weights("spatial", torch.zeros(1, 56, 40), mask, (56, 40))
    torch.testing.assert_close(found, torch.full((1, 56, 40), 0.5))


def test_codes_come_back() -> None:
    mask = torch.arange(64).reshape(8, 8) / 63
    code = encode(mask)
    assert (code[0], code[1], code[26], code[52], code[62:]) == ("A", "B", "a", "0", "-_")
    torch.testing.assert_close(decode(code, (8, 8)), mask)
    coarse = torch.rand(5, 7)
    assert (decode(encode(coarse), (5, 7)) - coarse).abs().max() <= 0.5 / 63 + 1e-6


@pytest.mark.parametrize("code", ["", "AAA", "AAAAA", "AAA+", "AAA\n", "AAA猫", "AAAé", "A AA"])
def test_a_code_that_is_none_is_refused(code: str) -> None:
    with pytest.raises(InputError) as refused:
        decode(code, (2, 2))
    assert refused.value.code == "paint_code"


def test_numbers_are_read() -> None:
    rows = [[0, 0.5], [1, 0.25]]
    torch.testing.assert_close(read_mask(rows, (2, 2)), torch.tensor(rows))
    torch.testing.assert_close(read_mask([0, 1, 0.5], (1, 3)), torch.tensor([[0, 1, 0.5]]))
    torch.testing.assert_close(read_mask([[0, 1, 0.5]], (1, 3)), torch.tensor([[0, 1, 0.5]]))
    torch.testing.assert_close(read_mask("A_", (1, 2)), torch.tensor([[0.0, 1.0]]))


@pytest.mark.parametrize(
    "values",
    [
        *(None, 7, {}, [], [[]], [[0, 1]], [[0, 1], [0]], [[0, 1], [0, 1], [0, 1]], [0, 1, 0, 1]),
        *([[0, 1], [0, one]] for one in (-0.1, 1.1, math.nan, math.inf, 10**400, True, "1", None)),
    ],
)
def test_anything_else_is_refused(values: Any) -> None:
    with pytest.raises(InputError) as refused:
        read_mask(values, (2, 2))
    assert refused.value.code == "paint_numbers"


@pytest.fixture(scope="module")
def everyday() -> Explainer:
    return Explainer.load("everyday", "cbam")


@pytest.mark.parametrize("entry", GOALS, ids=lambda entry: entry["file"])
def test_each_goal_is_reached_by_its_paint(everyday: Explainer, entry: dict[str, Any]) -> None:
    """On the network as it is bundled; without paint it says something else."""
    goal = entry["goal"]
    crop = everyday.explain(EXAMPLES / entry["file"], methods=()).image
    grounds = paint_grounds(everyday.model, everyday.preprocess.normalise(crop)[None])
    ground = grounds.stages[goal["stage"]]
    logits = painted_logits(everyday.model, ground, decode(goal["code"], ground.size))
    says = everyday.prediction(logits).ranked[0]
    assert (says.label, says.probability > 0.5) == (goal["label"], True)
    assert everyday.prediction(grounds.logits).ranked[0].label != goal["label"]


def test_grounds_fit_into_the_cache(everyday: Explainer) -> None:
    found = paint_grounds(everyday.model, torch.zeros(1, 3, 80, 80))
    features = [one.features for one in found.stages.values()]
    assert found.nbytes > sum(one.nbytes for one in features) > 100_000
    cache = Cache()
    assert cache.compute(("paint",), lambda: found) is cache.get(("paint",))
    assert np.prod(features[0].shape) * 4 == features[0].nbytes

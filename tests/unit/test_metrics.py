"""Pointing, replacements and statistics against numbers worked out by hand."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("scipy", reason="needs the extra 'train'")
pytest.importorskip("torchmetrics", reason="needs the extra 'train'")

from scipy import stats

from vggviz.images import Crop
from vggviz.metrics.localisation import (
    box_area,
    contains,
    crop_box,
    misses_centre,
    peak,
    pointing,
)
from vggviz.metrics.replacement import REPLACEMENTS, change_to
from vggviz.metrics.statistics import bootstrap, calibration, mcnemar
from vggviz.platform.timing import Interval
from vggviz.types import Grid, Kind

KINDS: dict[Kind, tuple[tuple[int, ...], Grid, Grid | None]] = {
    "channel": ((3, 8), (4, 4), None),
    "spatial": ((3, 4, 6), (4, 6), None),
    "volume": ((3, 8, 4, 6), (4, 6), None),
    "token": ((3, 2, 16, 4), (4, 4), (2, 2)),
    "pool": ((3, 24), (4, 6), None),
    "axis": ((3, 8, 4), (4, 1), None),
    "branch": ((3, 3, 8), (0, 0), None),
}
SUMS = {"token": -1, "pool": -1, "branch": 1}  # the axis of distributions


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def attention(kind: Kind) -> Tensor:
    weights = drawn(*KINDS[kind][0])
    return weights / weights.sum(SUMS[kind], keepdim=True) if kind in SUMS else weights


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Where a map points --------------------------------------------------------------------------


def test_the_peak_is_the_middle_of_the_largest_cell() -> None:
    maps = torch.zeros(3, 2, 4)
    maps[0, 1, 2] = maps[1, 0, 0] = 1
    maps[2] = torch.tensor([[0, 5, 0, 5], [5, 0, 0, 0]])  # ties: the first in reading order
    assert peak(maps, (64, 64)).tolist() == [[40, 48], [8, 16], [24, 16]]
    assert peak(-maps - 1, (64, 64))[0].tolist() == [8, 16]  # negative maps have one too


def test_a_map_that_points_nowhere_never_hits() -> None:
    maps = drawn(4, 3, 3)
    maps[0] = 0.25
    maps[1, 2, 2] = math.nan
    maps[2, 0, 1] = math.inf
    points = peak(maps, (9, 9))
    assert points.isnan().all(1).tolist() == [True, True, True, False]
    whole = torch.tensor([[0.0, 0, 9, 9]]).expand(4, 4)
    for tolerance in (0, 100):
        assert pointing(maps, whole, (9, 9), tolerance).tolist() == [False, False, False, True]


@pytest.mark.parametrize("cells", [3, 4, 7, 14])
def test_it_is_the_maximum_of_the_upsampled_map(cells: int) -> None:
    maps = drawn(200, cells, cells, seed=cells)
    side = 5 * cells  # an odd factor: there is a pixel at every cell's centre
    pixels = F.interpolate(
        maps[:, None].double(), (side, side), mode="bilinear", align_corners=False
    )[:, 0]
    at = (peak(maps, (side, side)) - 0.5).long()  # the pixel that is centred there
    reached = pixels[torch.arange(200), at[:, 1], at[:, 0]]
    torch.testing.assert_close(reached, pixels.amax((1, 2)))


def test_pointing_counts_the_left_edge_and_not_the_right() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 2] = 1  # x 10, y 6 in a picture of 16
    boxes = torch.tensor(
        [[10, 6, 11, 7], [9, 5, 10, 7], [9, 5, 11, 6], [0, 0, 16, 16], [0, 6, 10, 7]]
    ).float()
    hits = pointing(maps.expand(5, 4, 4), boxes[:, None], (16, 16))
    assert hits.tolist() == [True, False, False, True, False]


def test_tolerance_is_a_distance_to_the_box() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = 1  # (2, 2)
    box = torch.tensor([[[5.0, 6, 9, 9]]])  # 3 to the right, 4 below
    assert not pointing(maps, box, (16, 16), 4.99)[0]
    assert pointing(maps, box, (16, 16), 5)[0]


def test_chance_and_centre() -> None:
    boxes = torch.tensor([[0, 0, 64, 64], [0, 0, 32, 64], [32, 32, 33, 33], [9, 9, 9, 20]]).float()
    boxes = boxes[:, None]
    assert box_area(boxes, (64, 64)).tolist() == [1, 0.5, 1 / 4096, 0]
    assert misses_centre(boxes, (64, 64)).tolist() == [False, True, False, True]
    assert contains(boxes, torch.tensor([0.0, 0.0])).tolist() == [True, True, False, False]


def test_chance_is_what_random_points_hit() -> None:
    boxes = torch.tensor([[[3.0, 10, 40, 50]]]).expand(20_000, 1, 4)
    maps = drawn(20_000, 8, 8)
    hit = pointing(maps, boxes, (64, 64)).double().mean()
    # Cell centres are at 4, 12, … 60: of 8 × 8, those in x 4 … 36 and y 12 … 44 are hits.
    assert hit == pytest.approx(5 * 5 / 64, abs=0.015)
    assert box_area(boxes[:1], (64, 64)).item() == pytest.approx(37 * 40 / 4096)


def test_boxes_go_through_the_crop() -> None:
    crop = Crop(left=20, top=0, right=60, bottom=40, width=80, height=40)
    box = torch.tensor([30.0, 10, 50, 20])
    assert crop_box(box, crop, 80).tolist() == [20, 20, 60, 40]
    assert crop_box(torch.tensor([0.0, 0, 80, 40]), crop, 80).tolist() == [0, 0, 80, 80]
    outside = crop_box(torch.tensor([0.0, 0, 10, 40]), crop, 80)
    assert box_area(outside[None, None], (80, 80)).item() == 0


# Other weights -------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), list(product(REPLACEMENTS, KINDS)))
def test_replacements_keep_shape_and_distributions(name: str, kind: Kind) -> None:
    weights = attention(kind)
    before = weights.clone()
    changed = REPLACEMENTS[name](kind, weights, seeded())
    assert changed.shape == weights.shape
    assert torch.equal(weights, before)
    if kind in SUMS:
        sums = changed.sum(SUMS[kind])
        torch.testing.assert_close(sums, torch.ones_like(sums))
        assert changed.min() >= 0
    alone = [REPLACEMENTS[name](kind, one[None], seeded()) for one in weights]
    if name != "shuffled":  # every picture for itself
        torch.testing.assert_close(torch.cat(alone), changed)


def test_uniform_is_each_pictures_mean() -> None:
    gates = torch.tensor([[0.0, 1.0], [0.5, 0.7]])
    expected = torch.tensor([[0.5, 0.5], [0.6, 0.6]])
    torch.testing.assert_close(REPLACEMENTS["uniform"]("channel", gates, seeded()), expected)
    assert torch.equal(
        REPLACEMENTS["uniform"]("token", attention("token"), seeded()),
        torch.full((3, 2, 16, 4), 0.25),
    )


def test_inverted_turns_over() -> None:
    gates = torch.tensor([[0.1, 0.4, 0.9]])
    torch.testing.assert_close(
        REPLACEMENTS["inverted"]("channel", gates, seeded()), torch.tensor([[0.9, 0.6, 0.1]])
    )
    pool = torch.tensor([[0.1, 0.2, 0.7]])  # 0.7, 0.6, 0.1 over their sum of 1.4
    torch.testing.assert_close(
        REPLACEMENTS["inverted"]("pool", pool, seeded()), torch.tensor([[0.7, 0.6, 0.1]]) / 1.4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_shuffled_keeps_each_pictures_weights(kind: Kind) -> None:
    weights = attention(kind)
    changed = REPLACEMENTS["shuffled"](kind, weights, seeded())
    assert not torch.equal(changed, weights)
    assert torch.equal(changed.flatten(1).sort(1).values, weights.flatten(1).sort(1).values)
    assert torch.equal(changed, REPLACEMENTS["shuffled"](kind, weights, seeded()))
    assert not torch.equal(changed, REPLACEMENTS["shuffled"](kind, weights, seeded(1)))
    if kind in ("token", "branch"):  # one order of keys for all queries and heads of a picture
        row = (0,) * (weights.ndim - 1)
        order = [(weights[row] == value).nonzero().item() for value in changed[row]]
        assert torch.equal(changed[0], weights[0][..., order])


def test_identity_does_nothing_or_looks_at_the_nearest_key() -> None:
    identity = REPLACEMENTS["identity"]
    assert torch.equal(identity("volume", attention("volume"), seeded()), torch.ones(3, 8, 4, 6))
    assert torch.equal(identity("pool", attention("pool"), seeded()), torch.full((3, 24), 1 / 24))
    own = identity("token", torch.full((1, 1, 9, 9), 1 / 9), seeded())
    assert torch.equal(own[0, 0], torch.eye(9))
    nearest = identity("token", attention("token"), seeded())[2, 1].argmax(-1)
    assert nearest.tolist() == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]
    with_class_token = identity("token", torch.full((1, 1, 10, 10), 0.1), seeded())
    assert torch.equal(with_class_token[0, 0], torch.eye(10))
    windows = torch.tensor([[0, 1], [0, 1], [2, 3], [2, 3]])  # of a row of four
    inside = change_to("identity", seeded(), {"a": windows})("a", "token", drawn(2, 3, 4, 2))
    assert torch.equal(inside[1, 2], torch.eye(2).repeat(2, 1))
    with pytest.raises(ValueError, match="8 queries and 4 keys"):
        identity("token", torch.full((1, 1, 8, 4), 0.25), seeded())


# How sure ------------------------------------------------------------------------------------


def test_the_bootstrap_of_a_mean_agrees_with_scipy() -> None:
    values = torch.stack((drawn(150), drawn(150, seed=1).square() - 0.2), 1)
    found = bootstrap(values, seeded(), resamples=20_000)
    for column, estimate in zip(values.T.numpy(), found, strict=True):
        judge = stats.bootstrap(
            (column,), lambda x, axis: x.mean(axis), method="percentile", n_resamples=20_000,
            rng=0,
        ).confidence_interval  # fmt: skip
        assert estimate.value == pytest.approx(column.mean(), abs=1e-6)
        assert estimate.low == pytest.approx(judge.low, abs=0.002)
        assert estimate.high == pytest.approx(judge.high, abs=0.002)


def test_a_difference_is_paired() -> None:
    first = (drawn(400) < 0.6).double()
    second = first.clone()
    second[:8] = 1 - second[:8]  # the networks differ on 8 pictures only
    paired = bootstrap((first - second)[:, None], seeded())[0]
    a, b = bootstrap(torch.stack((first, second), 1), seeded())
    assert paired.value == pytest.approx(a.value - b.value)
    assert paired.high - paired.low < (a.high - a.low) / 3


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    generator, held = seeded(4), 0
    for _ in range(200):
        values = (torch.rand(150, generator=generator) < 0.3).double()
        estimate = bootstrap(values[:, None], generator, resamples=500)[0]
        held += estimate.low <= 0.3 <= estimate.high
    assert 0.89 <= held / 200 <= 0.985


def test_the_bootstrap_depends_on_the_seed_alone() -> None:
    values = drawn(60, 2)
    first, second = (bootstrap(values, seeded(), resamples=700) for _ in range(2))
    assert first == second
    assert first != bootstrap(values, seeded(1), resamples=700)
    assert bootstrap(values[:, :1], seeded(), resamples=700) == first[:1]
    with pytest.raises(ValueError, match="no picture was measured"):
        bootstrap(torch.zeros(0, 1), seeded())


def test_mcnemar_by_hand() -> None:
    first = torch.tensor([1] * 5 + [0] + [1] * 4 + [0] * 3, dtype=torch.bool)
    second = torch.tensor([0] * 5 + [1] + [1] * 4 + [0] * 3, dtype=torch.bool)
    # 5 against 1 of 6: 2 · (C(6,5) + C(6,6)) / 2⁶ = 14 / 64
    assert mcnemar(first, second) == pytest.approx(14 / 64)
    assert mcnemar(second, first) == pytest.approx(14 / 64)
    assert mcnemar(first, first) == 1.0
    assert mcnemar(first[:5], second[:5]) == pytest.approx(2 / 32)


def test_calibration_by_hand() -> None:
    # Confidences 0.9 (one of two right) and 0.6 (both right): (0.4 + 0.4) · 1/2 = 0.4
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4]])
    targets = torch.tensor([0, 1, 1, 0])
    estimate = calibration(probabilities.log(), targets, seeded(), resamples=2000)
    assert estimate.value == pytest.approx(0.4, abs=1e-6)
    assert 0 <= estimate.low <= estimate.high


def test_a_sure_and_right_network_is_calibrated() -> None:
    estimate = calibration(torch.eye(4) * 1000, torch.arange(4), seeded(), resamples=500)
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


def test_the_calibration_interval_holds_the_truth() -> None:
    generator, held = seeded(7), 0
    for _ in range(60):
        # Confidence 0.7 to 0.9, and right with 0.15 less: the true error is 0.15.
        confidence = 0.7 + 0.2 * torch.rand(400, generator=generator)
        right = torch.rand(400, generator=generator) < confidence - 0.15
        logits = torch.stack((confidence, 1 - confidence), 1).log()
        estimate = calibration(logits, (~right).long(), generator, resamples=300)
        held += estimate.low <= 0.15 <= estimate.high
    assert held >= 51


def test_the_median_lies_between_order_statistics() -> None:
    # Of 15 values the 4th and the 12th: 2 · P(Binomial(15, 1/2) ≤ 3) = 3.5%.
    values = [float(value) for value in torch.randperm(15, generator=seeded())]
    assert Interval.of(values) == (7, 3, 11)
    for count in (6, 9, 15, 40):
        some = drawn(count, seed=count).double()
        found = Interval.of(some.tolist())
        judge = stats.quantile_test(some.tolist(), p=0.5).confidence_interval(0.95)
        assert found[1:] == (judge.low, judge.high)
        assert found.median == pytest.approx(float(some.quantile(0.5)))

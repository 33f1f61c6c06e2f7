"""Untrained layers, energy and boxes against networks and numbers that are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from vggviz.cam import cams
from vggviz.metrics.agreement import agreements
from vggviz.metrics.boxes import OVERLAPS, THRESHOLDS, best_thresholds, box_accuracy, overlaps
from vggviz.metrics.localisation import box_area, energy
from vggviz.networks import Network, build_network

Build = Callable[..., Network]
Untouched = Callable[[nn.Module], AbstractContextManager[None]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed(model: nn.Module, before: nn.Module) -> set[str]:
    """The modules whose state is not what it was."""
    there = model.state_dict()
    return {
        key.rpartition(".")[0]
        for key, value in before.state_dict().items()
        if not torch.equal(value, there[key])
    }


def frozen(model: Network) -> Network:
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("architecture", ["vgg19", "vgg19_bn"])
def test_layers_become_untrained_from_the_top(
    architecture: str, small_vgg: Build, untouched: Untouched
) -> None:
    model = frozen(small_vgg(head="fc", architecture=architecture))
    groups = model.parameter_groups()
    assert len(groups) == 19
    assert [*groups][:4] == ["fc8", "fc7", "fc6", "conv5_4"]
    assert [*groups][-1] == "conv1_1"
    with untouched(model):
        for names in ([], ["fc8"], ["fc8", "fc7", "conv5_4"], ["conv1_1"], [*groups]):
            copy = model.untrained(names, seeded(1))
            weights = {path for name in names for path in groups[name][:1]}
            assert weights <= changed(copy, model) <= {p for name in names for p in groups[name]}
    fresh = build_network(model.config, seeded(1))
    assert changed(copy, fresh) == set()  # all is untrained in the end


def test_gradcam_forgets_what_the_network_forgets(
    small_vgg: Build, pictures: Callable[..., Tensor]
) -> None:
    model, images = frozen(small_vgg()), pictures(8, 64)
    path = model.path("block5")
    first = cams(model, images, [path])
    before = first.maps[path, "gradcam"][0]
    fresh = model.untrained([*model.parameter_groups()], seeded(5))
    after = cams(fresh, images, [path], targets=first.targets).maps[path, "gradcam"][0]
    assert agreements(before, before)[:, [0, 3]].nanmean(0).tolist() == pytest.approx([1, 1])
    assert agreements(before, after)[:, 0].nanmean() < 0.6


def test_energy_by_hand() -> None:
    maps = torch.tensor(
        [[[1.0, 2], [3, 4]], [[1, 2], [3, 4]], [[-5, -5], [-5, -4]], [[2, 2], [2, 2]]]
    )
    boxes = torch.tensor([[5.0, 5, 10, 10], [0, 0, 10, 7.5], [0, 0, 10, 5], [0, 0, 10, 10]])
    boxes = boxes[:, None]
    # Minus the smallest: 0 1 / 2 3. The lower right cell; the upper row and half of the lower one.
    expected = [3 / 6, (1 + 2.5) / 6, 0, math.nan]
    assert energy(maps, boxes, (10, 10)).tolist() == pytest.approx(expected, nan_ok=True)
    maps[0, 0, 0] = math.inf
    assert energy(maps, boxes, (10, 10)).isnan().tolist() == [True, False, False, True]


def test_the_energy_of_a_random_map_is_the_area() -> None:
    maps = torch.rand(4000, 6, 6, generator=seeded())
    box = torch.tensor([[[3.0, 10, 40, 50]]]).expand(4000, 1, 4)
    mean = energy(maps, box, (64, 64)).mean().item()
    assert mean == pytest.approx(box_area(box[:1], (64, 64)).item(), abs=0.005)


def test_boxes_of_a_map_by_hand() -> None:
    maps = torch.zeros(3, 20, 20)
    maps[0, 4:10, 2:12] = 0.5  # 10 × 6
    maps[0, 5:8, 3:8] = 1.0  # inside of it 5 × 3
    maps[0, 15:20, 15:20] = 0.7  # something else, 5 × 5
    maps[1] = 1
    boxes = torch.tensor([[[3.0, 5, 8, 8]], [[0, 0, 20, 20]], [[0, 0, 20, 20]]])
    found = overlaps(maps, boxes, (20, 20))
    assert found.shape == (3, len(THRESHOLDS))
    low, high = THRESHOLDS.index(0.28), THRESHOLDS.index(0.8)
    assert found[0, low].item() == pytest.approx(15 / 60)
    assert found[0, high].item() == 1
    assert found[1:].abs().max() == 0  # flat maps have no box
    far = overlaps(maps[:1], torch.tensor([[[15.0, 15, 20, 20]]]), (20, 20))
    assert far[0, low].item() == 1  # the part that fits best counts
    assert far[0, high].item() == 0


def test_diagonal_neighbours_are_one_part() -> None:
    maps = torch.zeros(1, 8, 8)
    maps[0, 2, 2] = maps[0, 3, 3] = 1
    assert overlaps(maps, torch.tensor([[[2.0, 2, 4, 4]]]), (8, 8))[0, 10].item() == 1


def test_thresholds_come_from_other_pictures() -> None:
    training = torch.zeros(10, len(THRESHOLDS))
    training[:6, 7] = 0.4  # most fit at 30% here,
    training[:5, 20] = 0.6  # at 50% here,
    training[:2, 23] = 0.9  # and at 70% here
    picked = best_thresholds(training)
    assert picked.tolist() == [7, 20, 23]
    found = torch.zeros(2, len(THRESHOLDS))
    found[0, 7], found[0, 20], found[0, 23] = 0.3, 0.49, 0.8
    found[1, 8] = 1.0  # elsewhere, which does not count
    assert box_accuracy(found, picked).tolist() == [[True, False, True], [False, False, False]]
    assert OVERLAPS == (0.3, 0.5, 0.7)

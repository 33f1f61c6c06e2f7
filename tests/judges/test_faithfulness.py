"""Deletion, insertion, confidence and ROAD against the authors' definitions and other packages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from vggviz.metrics.baselines import BASELINES
from vggviz.metrics.faithfulness import (
    RISE,
    SCALED,
    area,
    blur,
    confidence,
    curves,
    perturb,
    ranking,
    scaled_batch_size,
)
from vggviz.metrics.road import impute, road
from vggviz.networks import Network

Build = Callable[..., Network]
Draw = Callable[..., Tensor]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def share(pixels: Tensor) -> Tensor:
    """A network whose class 0 has as its probability the mean of the picture in (0, 1)."""
    mean = pixels.mean((1, 2, 3)).double()
    return torch.stack((mean.log(), (1 - mean).log()), 1)


def likeliest(model: Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(1)


def test_deletion_by_hand() -> None:
    pixels = torch.zeros(3, 2, 2)
    pixels[:, 0, 0], pixels[:, 0, 1], pixels[:, 1, 0], pixels[:, 1, 1] = 0.8, 0.4, 0.6, 0.2
    order = torch.tensor([[4.0, 3], [2, 1]])
    settings = replace(SCALED, steps=4)
    points = list(perturb(share, pixels, order, 0, settings=settings))
    assert [fraction for fraction, _ in points] == [0, 0.25, 0.5, 0.75, 1]
    expected = [0.5, 0.3, 0.2, 0.05, 0]  # the mean, without 0.8, 0.4, 0.6, 0.2
    assert [score for _, score in points] == pytest.approx(expected, abs=1e-6)
    # (0.5 + 0.3)/2 · 1/4 + (0.3 + 0.2)/2 · 1/4 + (0.2 + 0.05)/2 · 1/4 + 0.05/2 · 1/4
    assert float(area(*zip(*points, strict=True))) == pytest.approx(0.2, abs=1e-6)


def test_insertion_gives_back_what_the_blur_took() -> None:
    pixels = torch.rand(1, 3, 16, 16, generator=seeded())
    order = torch.rand(16, 16, generator=seeded(1))
    points = list(perturb(share, pixels, order, 0, "insertion", replace(SCALED, steps=2)))
    start = blur(pixels, SCALED)
    upper = (order >= order.flatten().sort(descending=True).values[127]).float()
    half = pixels * upper + start * (1 - upper)
    expected = [float(image.mean()) for image in (start, half, pixels)]
    assert [score for _, score in points] == pytest.approx(expected, abs=1e-6)


def test_it_is_the_authors_code(small_vgg: Build, pictures: Draw) -> None:
    """`CausalMetric.single_run` of RISE, written out with NumPy, at 224 steps."""
    model, image = small_vgg(head="gap", seed=5).eval(), pictures(1, 64)
    target = int(likeliest(model, image))
    saliency = torch.rand(64, 64, generator=seeded()).numpy()
    with torch.no_grad():
        order = np.flip(np.argsort(saliency.reshape(-1, 64 * 64), axis=1), axis=-1)
        current, scores = image.clone().reshape(1, 3, -1), []
        for step in range(65):
            scores.append(model(current.reshape(1, 3, 64, 64)).softmax(1)[0, target].item())
            coords = order[0, 64 * step : 64 * (step + 1)].copy()
            current[0, :, coords] = 0
    assert max(scores) - min(scores) > 0.05
    judge = (sum(scores) - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1)
    settings = replace(RISE, steps=64)
    points = list(perturb(model, image, torch.from_numpy(saliency), target, settings=settings))
    assert [score for _, score in points] == pytest.approx(scores, abs=1e-5)
    assert float(area(*zip(*points, strict=True))) == pytest.approx(judge, abs=1e-5)


def test_rises_blur_is_the_authors() -> None:
    ndimage = pytest.importorskip("scipy.ndimage", reason="needs the extra 'train'")
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = torch.tensor(ndimage.gaussian_filter(impulse, 5)).float()  # their `gkern(11, 5)`
    image = torch.randn(2, 3, 30, 24, generator=seeded())
    judge = torch.nn.functional.conv2d(
        image.reshape(6, 1, 30, 24), kernel[None, None], padding=5
    ).reshape(2, 3, 30, 24)
    torch.testing.assert_close(blur(image, RISE), judge, atol=1e-6, rtol=0)


@pytest.mark.parametrize("side", [40, 80])
def test_our_blur_scales_with_the_picture(side: int) -> None:
    constant = torch.full((1, 3, side, side), 0.7)
    torch.testing.assert_close(blur(constant, SCALED), constant)  # no dark border
    bright = torch.zeros(1, 3, side, side)
    bright[..., side // 2, side // 2] = 1
    spot = blur(bright, SCALED)[0, 0]
    offsets = torch.arange(side) - side // 2
    deviation = float((spot.sum(0) * offsets.square()).sum().sqrt())
    assert deviation == pytest.approx(side / 16, rel=0.04)  # of which 3 σ are kept


def test_a_batch_is_its_pictures_one_by_one(small_vgg: Build, pictures: Draw) -> None:
    model, images = small_vgg().eval(), pictures(3, 32)
    maps, targets = torch.rand(3, 4, 4, generator=seeded()).round(), likeliest(model, images)
    settings = replace(SCALED, steps=7)
    for kind in ("deletion", "insertion"):
        found = curves(model, images, maps, targets, kind, settings, batch=5)
        for row, (image, one, target) in enumerate(zip(images, maps, targets, strict=True)):
            points = list(perturb(model, image, one, int(target), kind, settings, batch=3))
            assert found[row].tolist() == pytest.approx([score for _, score in points], abs=1e-5)


def test_points_come_as_they_are_computed() -> None:
    passes: list[int] = []

    def counting(pixels: Tensor) -> Tensor:
        passes.append(len(pixels))
        assert not torch.is_grad_enabled()
        return share(pixels)

    pixels, one = torch.rand(3, 16, 16, generator=seeded()), torch.rand(4, 4)
    points = perturb(counting, pixels, one, 0, batch=8)
    first = list(islice(points, 8))
    assert passes == [8]
    assert torch.is_grad_enabled()  # between two points the caller's own
    assert next(points)[0] == 8 / 50
    points.close()
    assert passes == [8, 8]
    assert float(area(*zip(*first, strict=True))) > 0


def test_large_pictures_are_taken_fewer_at_a_time() -> None:
    assert [scaled_batch_size((side, side), 16) for side in (32, 80, 160, 224, 512)] == [
        16,
        16,
        4,
        2,
        1,
    ]
    sizes: list[int] = []

    def counting(pixels: Tensor) -> Tensor:
        sizes.append(len(pixels))
        return share(pixels)

    pixels, one = torch.rand(3, 160, 160, generator=seeded()), torch.rand(4, 4)
    assert len(list(perturb(counting, pixels, one, 0))) == 51
    assert sizes == [4] * 12 + [3]


def test_tied_pixels_go_in_a_scattered_order() -> None:
    flat = torch.zeros(1, 4, 4)
    places = ranking(flat, (8, 8))[0].reshape(8, 8)
    assert sorted(places.flatten().tolist()) == list(range(64))
    first = places < 16  # neither the upper rows nor the lower ones
    assert 2 <= int(first[:4].sum()) <= 14
    flat[0, 3, 3] = 1
    upsampled = torch.nn.functional.interpolate(flat[:, None], (8, 8), mode="bilinear")[0, 0]
    order = upsampled.flatten()[ranking(flat, (8, 8))[0].argsort()]
    assert torch.equal(order, order.sort(descending=True).values)


def test_areas_by_hand() -> None:
    assert float(area([0, 0.5, 1], [1, 0.5, 0])) == 0.5
    assert float(area([0, 0.2, 1], [1, 1, 0])) == pytest.approx(0.2 + 0.4)
    assert area([0, 1], torch.tensor([[1.0, 0], [1, 1]])).tolist() == [0.5, 1]
    assert float(area([0, 0.25], [1, 1])) == 0.25  # of a curve that was stopped
    for points in ([], [0.0]):
        with pytest.raises(ValueError, match="needs two points or more"):
            area(points, points)


def test_confidence_by_hand() -> None:
    pixels = torch.full((4, 3, 2, 2), 0.5)
    pixels[3, :, 0, 0] = 0  # what the map hides is nothing
    maps = torch.tensor([[[0.0, 1], [1, 1]], [[2.0, 3], [2, 2]], [[5.0, 5], [5, 5]]])
    maps = torch.cat((maps, maps[:1]))
    drop, increase = confidence(share, pixels, maps, torch.tensor([0, 1, 0, 0]))
    # The mean falls from 0.5 to 3/8; class 1 has what is left of 1: from 0.5 to 7/8; to 0.
    assert drop.tolist() == pytest.approx([0.25, 0, 1, 0])
    assert increase.tolist() == [False, True, False, False]


def test_confidence_is_that_of_grad_cam(small_vgg: Build, pictures: Draw) -> None:
    judges = pytest.importorskip("pytorch_grad_cam.metrics.cam_mult_image")
    outputs = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    model, images = small_vgg().eval(), pictures(4, 32)
    maps = torch.rand(4, 32, 32, generator=seeded())
    maps[:, 0, 0], maps[:, 0, 1] = 0, 1
    targets = torch.tensor([3, 0, 5, 3])
    called = [outputs.ClassifierOutputSoftmaxTarget(int(target)) for target in targets]
    drop, increase = confidence(model, images, maps, targets)
    with torch.no_grad():
        before = model(images).softmax(1).gather(1, targets[:, None])[:, 0]
    judged = judges.DropInConfidence()(images, maps.numpy(), called, model)
    assert (drop * before).tolist() == pytest.approx(judged.tolist(), abs=1e-5)
    more = judges.IncreaseInConfidence()(images, maps.numpy(), called, model)
    assert increase.tolist() == more.astype(bool).tolist()
    assert 0 < more.sum() < 4


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # grad-cam's own
@pytest.mark.parametrize("share_gone", [0.1, 0.5, 0.9])
def test_imputing_is_grad_cams(share_gone: float) -> None:
    judge = pytest.importorskip("pytorch_grad_cam.metrics.road").NoisyLinearImputer(noise=0)
    images = torch.randn(2, 3, 24, 30, generator=seeded())
    gone = torch.rand(2, 24, 30, generator=seeded(1)) < share_gone
    filled = impute(images, gone, noise=0)
    for image, holes, mine in zip(images, gone, filled, strict=True):
        torch.testing.assert_close(mine, judge(image, (~holes).float()), atol=2e-4, rtol=0)
        assert torch.equal(mine[:, ~holes], image[:, ~holes])


def test_imputing_by_hand() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3).expand(1, 3, 3, 3)
    gone = torch.zeros(1, 3, 3, dtype=torch.bool)
    gone[0, 0, 0] = True  # its neighbours 1 and 3 weigh 1/6, 4 at the corner 1/12
    filled = impute(image, gone, noise=0)
    assert filled[0, :, 0, 0].tolist() == pytest.approx([(1 / 6 + 3 / 6 + 4 / 12) / (5 / 12)] * 3)
    noisy = impute(torch.zeros(1, 3, 64, 64), torch.eye(64, dtype=torch.bool)[None], seeded())
    assert float(noisy[0, :, torch.eye(64).bool()].std()) == pytest.approx(0.01, rel=0.15)
    with pytest.raises(ValueError, match="lost all of its pixels"):
        impute(image, gone | True)


def looks_left(images: Tensor) -> Tensor:
    """Class 0 is likelier the rougher the left half is."""
    rough = images[..., : images.shape[-1] // 2].diff(dim=-1).abs().mean((1, 2, 3))
    return torch.stack((20 * rough, torch.full_like(rough, 5)), 1)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # grad-cam's own
def test_road_is_twice_grad_cams() -> None:
    judges = pytest.importorskip("pytorch_grad_cam.metrics.road")
    outputs = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    images, targets = torch.rand(2, 3, 16, 16, generator=seeded()), torch.tensor([0, 1])
    maps = torch.rand(2, 16, 16, generator=seeded())
    maps[:, :, :8] += 0.5
    called = [outputs.ClassifierOutputSoftmaxTarget(int(target)) for target in targets]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        judged = judges.ROADCombined()(images, maps.numpy(), called, looks_left)
    found = road(looks_left, images, maps, targets, seeded())
    assert found.tolist() == pytest.approx((2 * judged).tolist(), abs=0.02)  # noise of 0.01
    assert float(found[0]) > 0.1
    assert float(found[1]) < -0.1


def test_road_knows_a_good_order() -> None:
    pixels, zero = torch.rand(1, 3, 16, 16, generator=seeded()), torch.zeros(1).long()
    left = torch.zeros(1, 16, 16)
    left[..., :8] = 1
    assert float(road(looks_left, pixels, left, zero, seeded())) > 0.1
    assert float(road(looks_left, pixels, 1 - left, zero, seeded())) < -0.1


@pytest.mark.parametrize("measure", ["perturb", "curves", "confidence", "road"])
def test_what_has_no_answer_is_refused(measure: str) -> None:
    pixels, good = torch.rand(1, 3, 8, 8, generator=seeded()), torch.rand(1, 4, 4)

    def ask(maps: Tensor, target: int) -> None:
        index = torch.tensor([target])
        if measure == "perturb":
            list(perturb(share, pixels, maps[0], target))
        elif measure == "curves":
            curves(share, pixels, maps, index)
        elif measure == "confidence":
            confidence(share, pixels, maps, index)
        else:
            road(share, pixels, maps, index, seeded())

    for value in (math.nan, math.inf):
        broken = good.clone()
        broken[0, 1, 2] = value
        with pytest.raises(ValueError, match="a NaN or an infinity"):
            ask(broken, 0)
    for target in (-1, 2):
        with pytest.raises(ValueError, match="a class from 0 to 1"):
            ask(good, target)
    ask(torch.full((1, 4, 4), 0.5), 0)  # flat: the order is a random one, and that is all


def test_wrong_words_are_named() -> None:
    pixels = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="expected one picture"):
        list(perturb(share, pixels, torch.rand(4, 4), 0))
    with pytest.raises(ValueError, match="as many maps"):
        curves(share, pixels, torch.rand(3, 4, 4), torch.zeros(2).long())
    with pytest.raises(ValueError, match="no curve 'x': choose deletion or insertion"):
        curves(share, pixels, torch.rand(2, 4, 4), torch.zeros(2).long(), "x")  # type: ignore[arg-type]


def test_baselines() -> None:
    pixels = torch.zeros(2, 3, 6, 8)
    pixels[0, :, :, 4:] = 1  # an edge between columns 3 and 4: (1 + 2 + 1) · 1
    maps = {name: make(pixels, seeded()) for name, make in BASELINES.items()}
    assert list(maps) == ["random", "centre", "sobel"]
    assert all(one.shape == (2, 6, 8) for one in maps.values())
    assert maps["sobel"][0].tolist() == [[0, 0, 0, 4, 4, 0, 0, 0]] * 6
    assert maps["sobel"][1].abs().max() == 0
    assert torch.equal(maps["random"], BASELINES["random"](pixels, seeded()))
    assert not torch.equal(maps["random"][0], maps["random"][1])

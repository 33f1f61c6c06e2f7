"""How `everyday` is made: its classes, pictures, views and training, function by function."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from everyday.archive import add, sorted_by_label
from everyday.augment import augment, plain, random_affine, recolour, vary_sharpness
from everyday.classes import (
    EverydayClass,
    index_of_category,
    indices_in_network,
    part_of,
    parts_of_photographs,
    read_classes,
)
from everyday.judge import rank_of, shares
from everyday.pictures import Pictures
from everyday.soft_labels import FOLDS, fit, fold_of
from everyday.train import (
    PHASES,
    WARM_UP,
    Phase,
    epoch_order,
    lr_at,
    top,
    update_average,
    with_head,
    with_true_label_first,
)
from everyday.unify import laplacian_energy, shrink, squares
from torch import nn

from vggviz.data import open_dataset
from vggviz.networks import NetworkConfig, build_network

JPEG = {0: [4] * 64, 1: [6] * 64}  # quantisation tables


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Classes ---------------------------------------------------------------------------------------


def test_the_table_of_classes() -> None:
    classes = read_classes()
    in_network = indices_in_network()
    assert 70 <= len(in_network) <= 100
    assert in_network[:50] == [*range(50)]
    assert {"person", "airplane", "laptop"} <= {classes[index].label for index in in_network}
    assert all(one.wnid in one.members for one in classes[:50])
    for texts in (
        [one.label for one in classes],
        [one.zh for one in classes],
        [one.wnid for one in classes if one.wnid],
    ):
        assert len(set(texts)) == len(texts)
    for one in classes:
        assert re.fullmatch(r"n\d{8}|", one.wnid)
        assert re.search(r"[一-鿿]", one.zh)
        assert one.label.isascii()
        assert one.members


def test_categories_are_counted_once() -> None:
    classes = [EverydayClass("pet", "", "", ("dog", "cat")), EverydayClass("car", "", "", ("car",))]
    index = index_of_category(classes, ["zebra", "cat", "car", "dog", "ant"])
    assert index == {"dog": 0, "cat": 0, "car": 1, "ant": 2, "zebra": 3}
    with pytest.raises(ValueError, match="pet: cat is taken or does not exist"):
        index_of_category(classes, ["dog", "car"])
    twice = EverydayClass("twice", "", "", ("dog",))
    with pytest.raises(ValueError, match="twice: dog is taken"):
        index_of_category([*classes, twice], ["dog", "cat", "car"])


def test_what_is_held_out_depends_on_names_alone() -> None:
    names = [f"photo-{number}.jpg" for number in range(40)]
    parts = parts_of_photographs(names)
    assert [*parts.values()].count("report") == 8
    assert parts_of_photographs(names[::-1]) == parts
    kinds = [part_of(f"{number}.JPEG") for number in range(6400)]
    assert set(kinds) == {"train", "dev"}
    assert 150 < kinds.count("dev") < 250
    assert {fold_of(name) for name in names} == set(range(FOLDS))


# Pictures --------------------------------------------------------------------------------------


def test_laplacian_energy_by_hand() -> None:
    checks = np.indices((8, 8)).sum(0) % 2 * 255
    picture = np.repeat(checks[..., None], 3, 2).astype(np.uint8)
    # ±4·255 everywhere, a standard deviation of 255 / 2.
    assert laplacian_energy(picture) == pytest.approx(64)
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None], (8, 8, 3))
    assert laplacian_energy(np.ascontiguousarray(ramp)) == pytest.approx(0, abs=1e-9)


def test_shrunken_photographs_are_aliased() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (200, 300, 1)).astype(np.uint8)
    noise = grey.repeat(3, 2)
    small = shrink(noise, JPEG)
    assert small.shape == (64, 96, 3)
    assert shrink(noise.transpose(1, 0, 2), JPEG).shape == (96, 64, 3)
    # A low-pass filter would leave a third of the noise.
    assert small.std() > 0.7 * noise.std()


def test_square_crops_are_the_middle_and_both_ends() -> None:
    picture = np.zeros((4, 10, 3), np.uint8)
    picture[:, :, 0] = np.arange(10)
    assert [crop[0, :, 0].tolist() for crop in squares(picture)] == [
        [3, 4, 5, 6],
        [0, 1, 2, 3],
        [6, 7, 8, 9],
    ]
    upright = squares(picture.transpose(1, 0, 2))
    assert [crop[0, 0, 0] for crop in upright] == [3, 0, 6]
    assert len(squares(np.zeros((64, 70, 3), np.uint8))) == 1


def test_pictures_of_fewer_classes() -> None:
    pictures = Pictures(
        np.zeros((4, 2, 2, 3), np.uint8),
        ["a", "b", "c", "d"],
        torch.tensor([0, 1, 2, 3]),
        ["train", "dev", "train", "train"],
        ["ant", "bee", "cat", "dog"],
        3,
    )
    fewer, order = pictures.restrict([0, 2])
    assert (fewer.labels, fewer.everyday) == (["ant", "cat", "bee", "dog"], 2)
    assert [fewer.labels[target] for target in fewer.targets] == pictures.labels
    assert order.tolist() == [0, 2, 1, 3]
    assert fewer.of_part("train").tolist() == [0, 2, 3]


def test_an_archive_lists_pictures_in_the_order_of_the_soft_labels(tmp_path: Path) -> None:
    colours = [10, 60, 110, 160, 210, 250]
    array = np.stack([np.full((16, 16, 3), value, np.uint8) for value in colours])
    array[..., 2] //= 2  # blue and red differ
    targets, labels = torch.tensor([2, 0, 1, 0, 2, 1]), ["crab", "Ant", "bee"]
    pictures = Pictures(array, list("abcdef"), targets, ["train"] * 6, labels, 3)
    indices, names = sorted_by_label(pictures, torch.tensor([0, 1, 2, 3, 4, 5]))
    assert names == ["Ant", "Ant", "bee", "bee", "crab", "crab"]
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for part in ("train", "val"):
            add(archive, part, names, pictures.pixels(indices))
    data = open_dataset(tmp_path / "some.zip", "train")
    assert data.labels == ("Ant", "bee", "crab")
    for place, index in enumerate(indices.tolist()):
        assert data.labels[int(data.targets[place])] == labels[int(targets[index])]
        assert np.array_equal(np.asarray(data.image(place)), array[index])


# Views -----------------------------------------------------------------------------------------


def test_views_depend_on_the_generator_alone() -> None:
    pixels = torch.randint(0, 256, (16, 3, 64, 64), generator=seeded(), dtype=torch.uint8)
    state = torch.get_rng_state()
    first, again, other = (augment(pixels, 40, 0.25, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (16, 3, 40, 40)
    assert plain(pixels, 64).shape == (16, 3, 64, 64)


def test_crops_stay_inside_and_have_their_area() -> None:
    theta = random_affine(4000, 0.25, seeded())
    linear, centre = theta[:, :, :2], theta[:, :, 2]
    area = linear.det().abs()
    near = area <= 1
    assert 0.8 < float(near.float().mean()) < 0.92
    assert 0.24 < float(area.min()) < 0.3
    assert 1.5 < float(area.max()) <= 1.5**2
    upright = near & (linear[:, 0, 1] == 0)
    reach = centre[upright].abs() + linear[upright].diagonal(dim1=1, dim2=2).abs()
    assert float(reach.max()) <= 1 + 1e-6
    assert 0.45 < float((linear.det() < 0).float().mean()) < 0.55  # mirrored


def test_sharpness_and_colours() -> None:
    even = torch.full((64, 3, 16, 16), 0.4)
    torch.testing.assert_close(vary_sharpness(even, seeded()), even)
    noise = torch.rand(400, 3, 16, 16, generator=seeded())
    ratio = vary_sharpness(noise, seeded()).flatten(1).std(1) / noise.flatten(1).std(1)
    shares_of = [(ratio < 0.999), (ratio > 1.001), (ratio - 1).abs() <= 1e-3]
    softer, sharper, same = (float(share.float().mean()) for share in shares_of)
    assert abs(softer - 0.5) < 0.08
    assert sharper + same == pytest.approx(1 - softer, abs=1e-6)
    assert abs(same - 0.25) < 0.08
    grey = recolour(noise, seeded()).std(1).mean((1, 2)) < 1e-6
    assert 0 < int(grey.sum()) < 50


# Training --------------------------------------------------------------------------------------


def test_an_epochs_order() -> None:
    targets = torch.tensor([0] * 10 + [1] * 300 + [2] * 50)
    order = epoch_order(targets, 100, 200, 3, seeded())
    assert targets[order].bincount().tolist() == [30, 200, 100]
    assert order.bincount(minlength=360)[:10].tolist() == [3] * 10
    assert order.bincount(minlength=360)[310:].tolist() == [2] * 50
    assert len(order[targets[order] == 1].unique()) == 200
    assert not torch.equal(order, epoch_order(targets, 100, 200, 3, seeded(1)))


def test_the_learning_rate_and_the_sizes() -> None:
    assert lr_at(0, 1000, 0.3) == pytest.approx(0.3 / WARM_UP)
    assert lr_at(WARM_UP, 1000, 0.3) == pytest.approx(0.3)
    assert lr_at((1000 + WARM_UP) // 2, 1000, 0.3) == pytest.approx(0.15)
    assert lr_at(1000, 1000, 0.3) == pytest.approx(0)
    phase = Phase(((32, 2), (64, 1)), 0.1, 0.5, 0.3, 1, 1, 0)
    assert [phase.size_at(epoch) for epoch in range(phase.epochs)] == [32, 32, 64]
    assert {"pretrain", "finetune"} == set(PHASES)


def test_the_average_of_weights() -> None:
    average, model = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    model.weight.data.fill_(3.0)
    model.running_mean.fill_(5.0)  # type: ignore[union-attr]
    model.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    update_average(average, model, 0)  # 0.1·1 + 0.9·3 and 0.9·5
    assert average.weight.item() == pytest.approx(2.8)
    assert float(average.running_mean) == pytest.approx(4.5)  # type: ignore[arg-type]
    assert int(average.num_batches_tracked) == 7  # type: ignore[arg-type]
    update_average(average, model, 10**6)
    assert average.weight.item() == pytest.approx(0.999 * 2.8 + 0.001 * 3)


@torch.no_grad()
def test_a_new_head_keeps_rows() -> None:
    config = NetworkConfig(architecture="vgg19_bn", head="gap", width=0.125, num_classes=6)
    source = build_network(config, seeded()).eval()
    images = torch.randn(2, 3, 32, 32, generator=seeded())
    rows = torch.tensor([4, 1])
    wider = with_head(source, rows, 9).eval()
    assert wider(images).shape == (2, 9)
    torch.testing.assert_close(wider(images)[:, :2], source(images)[:, rows])


def test_the_true_label_comes_first_in_photographs() -> None:
    soft = torch.tensor([[1.0, 2, 3], [1, 2, 3], [5, 2, 3]])
    swapped = with_true_label_first(
        soft, torch.tensor([0, 0, 0]), torch.tensor([True, False, True])
    )
    assert swapped.tolist() == [[3, 2, 1], [1, 2, 3], [5, 2, 3]]


def test_the_teachers_layer_is_fitted() -> None:
    y = torch.arange(300) % 3
    x = torch.eye(3)[y] + 0.3 * torch.randn(300, 3, generator=seeded())
    layer = fit(x, y, 3)
    assert float((layer(x).argmax(1) == y).float().mean()) > 0.9
    again = fit(x, y, 3)
    assert torch.equal(layer.weight, again.weight)


def test_ranks_by_hand() -> None:
    scores = torch.tensor([[3.0, 1, 2], [0, 1, 2]])
    targets = torch.tensor([0, 0])
    assert rank_of(scores, targets).tolist() == [0, 2]
    assert (top(scores, targets), top(scores, targets, 3)) == (0.5, 1.0)
    assert shares("all", torch.tensor([0, 4, 5, 0])) == "all: top-1 50.0%, top-5 75.0% of 4"

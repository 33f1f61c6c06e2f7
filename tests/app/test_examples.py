"""Training sets larger than memory: read by workers, augmented there, never held as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("accelerate", reason="needs the extra 'train'")

from vggviz.data import Crops, Dataset, open_dataset, read_crops
from vggviz.images import ImageError, Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.training import Examples, TrainConfig, measure, train
from vggviz.training.examples import View, plain_views, view_batches
from vggviz.training.run import NetworkChoice, run_training
from vggviz.weights import Card, load_network, save_network

PREPROCESS = Preprocess(40, 44)
CONFIG = TrainConfig(epochs=2, image_sizes=(32, 40), batch=8, lr=0.02, zoom_out=0.5)


def draw(folder: Path, count: int, side: int = 48) -> Path:
    generator = np.random.default_rng(0)
    for label, shift in (("dark", 0), ("light", 90)):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 160, (side, side + 4, 3)) + shift
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_dataset(draw(tmp_path_factory.mktemp("data") / "shades", 12))


def examples(dataset: Dataset, **options: int) -> Examples:
    pixels, kept = read_crops(dataset, PREPROCESS, **options)  # type: ignore[arg-type]
    return Examples(pixels, dataset.targets[kept])


def small() -> Network:
    config = NetworkConfig("se", head="gap", architecture="vgg19_bn", width=0.125, num_classes=2)
    return build_network(config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_that_are_read_each_time_are_those_in_memory(
    dataset: Dataset, workers: int
) -> None:
    inside, outside = examples(dataset, workers=0), examples(dataset, memory=1000, workers=workers)
    assert isinstance(inside.pixels, torch.Tensor)
    assert isinstance(outside.pixels, Crops)
    assert torch.equal(torch.stack([outside.pixels[k] for k in range(24)]), inside.pixels)
    for index in (0, 13):
        square = PREPROCESS.crop(dataset.image(index))[0]
        assert np.array_equal(inside.pixels[index].permute(1, 2, 0), square)
    assert inside.fingerprint() == outside.fingerprint()
    views = [[View(k, 32, 100 + k) for k in range(24)], [View(3, 36, 1), View(3, 36, 2), View(5)]]
    made = [
        list(view_batches(one, views[:1], PREPROCESS, CONFIG, workers))
        + list(view_batches(one, [views[1][:2]], PREPROCESS, CONFIG, workers))
        for one in (inside, outside)
    ]
    for one, other in zip(*made, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(made[0][1][0], made[0][1][1])  # two views of one picture
    plain = torch.cat(list(view_batches(outside, plain_views(24), PREPROCESS, CONFIG, workers)))
    assert torch.equal(plain, inside.pixels)


def test_training_does_not_depend_on_where_pictures_are_nor_on_workers(
    dataset: Dataset, tmp_path: Path
) -> None:
    trained = []
    for memory, workers in ((1 << 30, 0), (0, 0), (0, 2)):
        model, one = small(), examples(dataset, memory=memory, workers=0)
        history = train(
            model, one, one, PREPROCESS, CONFIG, tmp_path / f"{memory}-{workers}", workers=workers
        )
        trained.append((model.state_dict(), history[-1]["loss"]))
        found = measure(model, one, PREPROCESS, 40, workers=workers)
        assert found["top1"] == history[-1]["validation_top1"]
    for state, loss in trained[1:]:
        assert loss == trained[0][1]
        for key, value in state.items():
            assert torch.equal(value, trained[0][0][key]), key


@pytest.mark.parametrize("workers", [0, 2])
def test_what_can_not_be_read_is_said_in_one_sentence(workers: int, tmp_path: Path) -> None:
    data = draw(tmp_path / "data", 8)
    (data / "dark" / "3.png").write_bytes(b"no picture")
    found = open_dataset(data)
    said: list[ImageError] = []
    pixels, kept = read_crops(found, PREPROCESS, memory=0, workers=workers, unreadable=said.append)
    assert kept.tolist() == [0, 1, 2, *range(4, 16)]
    assert len(pixels) == 15
    with pytest.raises(ImageError) as refused:
        read_crops(found, PREPROCESS, memory=0, workers=workers)
    assert [str(one) for one in said] == [str(refused.value)]
    assert str(refused.value).startswith("dark/3.png: ")
    (data / "light" / "2.png").unlink()  # while it trains
    one = Examples(pixels, found.targets[kept])
    with pytest.raises(ImageError) as gone:
        train(small(), one, one, PREPROCESS, CONFIG, tmp_path / "c", workers=workers)
    assert "light/2.png" in str(gone.value)
    assert "\n" not in str(gone.value)


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    """600 pictures at 224 pixels are 90 MB."""
    data = draw(tmp_path / "data", 4, 40)
    for label in ("dark", "light"):
        for number in range(4, 300):
            os.link(data / label / f"{number % 4}.png", data / label / f"{number}.png")
    program = """
import resource, sys, torch
from vggviz.data import open_dataset, read_crops
from vggviz.images import Preprocess
from vggviz.training import Examples, TrainConfig
from vggviz.training.examples import View, plain_views, view_batches
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
preprocess, config = Preprocess(224, 224), TrainConfig()
dataset = open_dataset(sys.argv[1])
def use(dataset):
    pixels, kept = read_crops(dataset, preprocess, memory=0, workers=0)
    examples = Examples(pixels, dataset.targets[kept])
    assert len(examples.fingerprint()) == 64
    for batch in view_batches(examples, plain_views(len(kept)), preprocess, config, 0):
        assert batch.shape[1:] == (3, 224, 224)
use(dataset.subset(torch.arange(160)))
before = peak()
use(dataset)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, data], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 35, "in MB, of 66 more"


def test_views_are_kept_beside_the_weights_until_training_is_done(tmp_path: Path) -> None:
    """A run that stops leaves them to the one that goes on; a folder of one's own stays."""
    data, out = draw(tmp_path / "data", 16), tmp_path / "own.safetensors"
    config = NetworkConfig(head="gap", architecture="vgg19_bn", width=0.125, num_classes=2)
    start = tmp_path / "small.safetensors"
    save_network(
        build_network(config, torch.Generator().manual_seed(1)),
        Card("small", config, Preprocess(32, 32), ("dark", "light")),
        start,
    )
    recipe = replace(CONFIG, image_sizes=(32,), epochs=3, views=2, freeze_backbone=True)
    views = tmp_path / "own.views"

    class StoppedError(Exception):
        pass

    def stop(progress: object) -> None:
        if getattr(progress, "epoch", 0) == 2:
            raise StoppedError

    network = NetworkChoice(str(start), "se", stages=("block4",))
    with pytest.raises(StoppedError):
        run_training(data, out, recipe, network, report=stop)
    kept = {file.name: file.stat().st_mtime_ns for file in views.iterdir()}
    assert len(kept) == 3

    def same(_: object) -> None:
        assert {file.name: file.stat().st_mtime_ns for file in views.iterdir()} == kept

    run_training(data, out, recipe, network, resume=True, report=same)
    assert not views.exists()
    other = tmp_path / "other.safetensors"
    run_training(data, other, recipe, network, cache=tmp_path / "cache")
    assert {file.name for file in (tmp_path / "cache").iterdir()} == set(kept)
    assert not (tmp_path / "other.views").exists()
    one, two = load_network(out)[0].state_dict(), load_network(other)[0].state_dict()
    assert all(torch.equal(value, two[key]) for key, value in one.items())

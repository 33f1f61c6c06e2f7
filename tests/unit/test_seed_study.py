"""Several seeds under one recipe: what is equal, what is paired, and the students' floor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("accelerate", reason="needs the extra 'train'")

from vggviz.networks import NetworkConfig
from vggviz.training import Progress, TrainConfig
from vggviz.training.seed_study import SeedStudy, TinyVGG, run_seed_study

RENAMED = {"lr": "rate", "image_sizes": "sizes", "distill_weight": "distil"}


def test_the_tiny_vgg_is_cnn_explainers() -> None:
    model = TinyVGG(NetworkConfig(num_classes=10), torch.Generator().manual_seed(0)).eval()
    written = nn.Sequential(
        nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Conv2d(10, 10, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(10, 10, 3), nn.ReLU(), nn.Conv2d(10, 10, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1690, 10),
    ).eval()  # fmt: skip
    written.load_state_dict(
        dict(zip(written.state_dict(), model.state_dict().values(), strict=True))
    )
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(images), written(images))
    weights = 3 * 10 * 9 + 3 * 10 * 10 * 9 + 1690 * 10 + 4 * 10 + 10
    assert sum(parameter.numel() for parameter in model.parameters()) == weights == 19_920


def found(**top1: tuple[float, ...]) -> SeedStudy:
    parameters, multiply_adds = (dict.fromkeys(top1, number) for number in (1000, 2_345_678))
    return SeedStudy({}, ("a", "b"), 10, 5, (0, 1, 2), top1, top1, parameters, multiply_adds)


def test_the_difference_by_hand() -> None:
    told = found(none=(0.70, 0.72, 0.71), se=(0.72, 0.75, 0.72))
    mean, low, high = told.difference("se")  # 2, 3, 1 points: mean 2, deviation 1
    assert mean == pytest.approx(0.02)
    half = 4.302653 * 0.01 / 3**0.5  # Student's t, two degrees of freedom
    assert (low, high) == pytest.approx((0.02 - half, 0.02 + half), abs=1e-8)
    assert (
        "| `se` | 1,000 | 2.3 M | 73.0% | 72.0, 75.0, 72.0 | +2.0 (-0.5 to +4.5) |" in told.table()
    )
    assert found(none=(0.5,), se=(0.6,)).difference("se")[1:] == (-np.inf, np.inf)


def test_runs_are_made_once_and_the_rest_is_the_same(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label, colour in (("red", (200, 30, 30)), ("green", (30, 200, 30))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(10):
            noise = generator.integers(-25, 25, (64, 64, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{number}.png")
    config = TrainConfig(epochs=2, image_sizes=(32, 64), batch=8)
    trained: list[tuple[str, int]] = []

    def report(name: str, seed: int, progress: Progress) -> None:
        if progress.step == progress.steps:
            trained.append((name, seed))

    def run(*networks: str) -> SeedStudy:
        return run_seed_study(
            tmp_path / "data",
            tmp_path / "out",
            config,
            networks,
            (0, 1),
            width=0.125,
            report=report,
        )

    first = run("se", "tiny_vgg")
    assert trained == [(n, s) for s in (0, 1) for n in ("none", "se", "tiny_vgg")]
    assert first.train_pictures == 16
    assert first.parameters["tiny_vgg"] == 19_920 - 8 * 1691
    sizes = ((3, 62), (10, 60), (10, 28), (10, 26))  # channels in and side, of 10 channels out
    convolutions = sum(10 * channels * 9 * side**2 for channels, side in sizes)
    assert first.multiply_adds["tiny_vgg"] == convolutions + 2 * 1690
    told = json.loads((tmp_path / "out" / "tiny_vgg-1.json").read_text())
    assert told["recipe"]["image_sizes"] == [64]
    assert told["recipe"]["seed"] == 1
    trained.clear()
    assert run("se", "tiny_vgg") == first
    assert trained == []
    old = dict(told, recipe={RENAMED.get(key, key): x for key, x in told["recipe"].items()})
    (tmp_path / "out" / "tiny_vgg-1.json").write_text(json.dumps(old))
    assert run("se", "tiny_vgg") == first
    assert trained == []  # a result of version 0.1 counts
    (tmp_path / "out" / "se-1.json").unlink()
    assert run("se", "tiny_vgg") == first
    assert trained == [("se", 1)]
    trained.clear()
    (tmp_path / "data" / "red" / "0.png").write_bytes(
        (tmp_path / "data" / "red" / "1.png").read_bytes()
    )
    run("se", "tiny_vgg")  # other pictures under the same names: nothing is known of them
    assert len(trained) == 6
    for config, networks, wrong in (
        (TrainConfig(image_sizes=(32,)), ("tiny_vgg",), "tiny_vgg takes pictures of 64 pixels"),
        (TrainConfig(image_sizes=()), (), "need image_sizes"),
        (TrainConfig(image_sizes=(32,)), ("magic",), "no attention 'magic'"),
    ):
        with pytest.raises(ValueError, match=wrong):
            run_seed_study(tmp_path / "data", tmp_path / "new", config, networks, (0,), width=0.125)
    assert not (tmp_path / "new").exists()  # before anything was trained

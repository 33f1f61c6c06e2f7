"""The device that a network runs on: chosen by name, refused in a sentence where it is missing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from vggviz import Explainer
from vggviz.cli import app
from vggviz.platform.device import choose_device, move_to, run_network
from vggviz.types import InputError

ACCELERATORS = [
    kind
    for kind, there in {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }.items()
    if there
]
MISSING = [kind for kind in ("cuda", "mps") if kind not in ACCELERATORS]
DEVICES = ["cpu", *ACCELERATORS]
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def test_auto_takes_the_first_that_is_there() -> None:
    assert choose_device("auto").type == [*ACCELERATORS, "cpu"][0]
    assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", [*MISSING, "cuda:99", "tpu", "", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(name: str) -> None:
    for load in (Explainer.load, lambda **more: Explainer.of(nn.Identity(), **more), None):
        with pytest.raises(InputError) as refused:
            choose_device(name) if load is None else load(device=name)
        known = ", ".join(("auto", *ACCELERATORS, "cpu"))
        assert str(refused.value) == f"there is no device {name!r} here: choose from {known}"
    assert name in refused.value.message("zh")


@pytest.mark.parametrize("device", DEVICES)
def test_an_explanation_is_the_same_on_every_device(device: str) -> None:
    reference = Explainer.load("everyday", "self_attention")
    explainer = Explainer.load("everyday", "self_attention", device=device)
    assert {p.device.type for p in explainer.model.parameters()} == {device}
    here, there = (
        one.explain(PICTURE, ("block4", "block5"), ("gradcam", "eigencam", "attention*gradient"))
        for one in (reference, explainer)
    )
    assert here.target.index == there.target.index
    assert torch.allclose(here.prediction.logits, there.prediction.logits, atol=1e-3)
    for key, heatmap in here.heatmaps.items():
        assert there.heatmaps[key].raw.device.type == "cpu"
        assert torch.allclose(heatmap.values, there.heatmaps[key].values, atol=1e-3), key


class Recorder(nn.Module):
    """A network that records the device of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 4)
        self.devices: list[str] = []

    def forward(self, images: Tensor) -> Tensor:
        self.devices.append(images.device.type)
        return self.layer(images).mean((2, 3))


@pytest.mark.parametrize("device", DEVICES)
def test_a_network_computes_where_it_is_and_answers_where_the_images_are(device: str) -> None:
    network, images = Recorder().to(device), torch.ones(2, 3, 8, 8)
    output = run_network(network, images)
    assert (network.devices, output.device.type) == ([device], "cpu")
    assert move_to(nn.ReLU(), images) is images


@pytest.mark.skipif(not MISSING, reason="all devices are here")
@pytest.mark.parametrize(
    "command",
    [
        ("explain", "picture.png"),
        ("evaluate", "--data", "."),
        ("train", "--data", ".", "--out", "new.safetensors"),
        ("serve",),
    ],
    ids=lambda command: command[0],
)
def test_every_command_refuses_a_device_that_is_not_there(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command[0] in ("train", "evaluate"):
        pytest.importorskip("accelerate")
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(PICTURE).save(tmp_path / name / "picture.png")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*command, "--device", MISSING[0]])
    assert done.exit_code == 2
    assert re.search(f"there is no device '{MISSING[0]}' here: choose from auto", done.output)

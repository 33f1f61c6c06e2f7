"""The same command under `accelerate launch`: two processes, one result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("accelerate", reason="needs the extra 'train'")

from vggviz.weights import load_network

pytestmark = pytest.mark.slow


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label, colour in (("red", (200, 30, 30)), ("green", (30, 200, 30))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(20):
            noise = generator.integers(-25, 25, (40, 40, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{number}.png")
    out = tmp_path / "out" / "two.safetensors"
    launch = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "vggviz.cli"]
    options = ["train", "--data", tmp_path / "data", "--out", out, "--attention", "se"]
    options += ["--epochs", 16, "--image-sizes", 32, "--batch", 8, "--width", 0.125]
    done = subprocess.run(
        [sys.executable, "-m", *launch, *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": validation ") == 17  # sixteen epochs and the end, said once
    assert {path.name for path in out.parent.iterdir()} == {
        "two.curve.png",
        "two.history.json",
        "two.safetensors",
        "two.tensorboard",
    }
    _, card = load_network(out)
    history = json.loads((out.parent / "two.history.json").read_text())
    assert len(history) == 16
    assert history[-1]["loss"] < history[0]["loss"]
    assert 0 <= history[-1]["accuracy"] <= 1
    assert card.facts["validation"]["top1"] >= 0.9

"""What attention without labels costs on a full-size VGG19 at 224 pixels: minutes and memory.

    python assets/weights/unlabelled_cost.py PICTURES FOLDER [ATTENTION]

Weights are random, as a stand-in for ImageNet's, which cost the same. The first `COUNT` photographs
of the folder PICTURES are copied to FOLDER, and `vggviz train --unlabelled` runs on them in a
process of its own. It prints minutes from its start to the file, and the most memory that it held
at once: memory-mapped features, which the system may drop at any time, count as well.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from vggviz.data import find_pictures
from vggviz.platform.machine import machine
from vggviz.weights import load_network, save_network

COUNT, EPOCHS, VIEWS = 300, 5, 2


def main(pictures: Path, folder: Path, attention: str = "cbam") -> None:
    photographs = folder / "photographs"
    shutil.rmtree(photographs, ignore_errors=True)
    photographs.mkdir(parents=True)
    files, _ = find_pictures(pictures)
    if len(files) < COUNT:
        raise SystemExit(f"{pictures} has {len(files)} pictures, {COUNT} are needed")
    for file in sorted(files)[:COUNT]:
        shutil.copy(file, photographs)
    base, out = folder / "vgg19-random.safetensors", folder / "vgg19-attention.safetensors"
    model, card = load_network("random", generator=torch.Generator().manual_seed(0))
    save_network(model, replace(card, trained="all"), base)  # a network that says it has learned
    del model
    command = [sys.executable, "-m", "vggviz.cli", "train", "--data", str(photographs)]
    command += ["--unlabelled", "--weights", str(base), "--attention", attention, "--out", str(out)]
    command += ["--epochs", str(EPOCHS), "--views", str(VIEWS)]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    minutes = (time.perf_counter() - start) / 60
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # KiB, on Linux
    print(f"{COUNT} photographs, {attention}: {minutes:.1f} minutes, at most {peak:.1f} GiB")
    print(machine())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])

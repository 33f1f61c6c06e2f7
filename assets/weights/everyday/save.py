"""Write the trained network as a weights file of vggviz.

    python -m everyday.save FOLDER everyday-none.safetensors

The size of its pictures is the one with the best top-1 on the part 'dev'. The classes are in the
order of their labels, in which `vggviz train` finds them as folders.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from everyday.classes import indices_in_network, read_classes
from everyday.pictures import read_pictures
from everyday.train import PHASES, evaluate, initial_network, with_head
from vggviz.images import Preprocess
from vggviz.platform.machine import machine
from vggviz.weights import Card, save_network

SIZES = (64, 80)  # multiples of 16, so that block 5's cells cover the picture; larger is slower


def main(folder: Path, file: Path) -> None:
    torch.set_num_threads(2)
    classes = [one for one in read_classes() if one.in_network]
    pictures, _ = read_pictures(folder).restrict(indices_in_network())
    model = with_head(initial_network(folder), torch.arange(0), len(classes))
    model.load_state_dict(torch.load(folder / "finetune.pt")["average"])
    model.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    measured = {size: evaluate(model, pictures, size) for size in SIZES}
    for size, found in measured.items():
        print(size, {name: round(value, 4) for name, value in found.items()})
    size = max(SIZES, key=lambda side: measured[side]["dev_everyday"])
    order = sorted(range(len(classes)), key=lambda index: classes[index].label)
    head = model.classifier[0]
    head.weight.copy_(head.weight[order].clone())
    head.bias.copy_(head.bias[order].clone())
    classes = [classes[index] for index in order]
    epochs = [
        json.loads(line)
        for name in PHASES
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    facts = {
        "data": "Tiny ImageNet (200 classes, 70,000 pictures) and Caltech-101 (3,100 photographs), "
        "at 64 pixels and one sharpness",
        "recipe": {name: asdict(phase) for name, phase in PHASES.items()},
        "command": "assets/weights/everyday/make.sh",
        "validation": measured[size],
        "hours": sum(epoch["seconds"] for epoch in epochs) / 3600,
        "machine": asdict(machine()),
    }
    card = Card(
        weights="everyday",
        config=model.config,
        preprocess=Preprocess(size, size),
        labels=tuple(one.label for one in classes),
        wnids=tuple(one.wnid for one in classes),
        facts=facts,
    )
    save_network(model, card, file)
    print(f"{file}: {size} pixels, {file.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

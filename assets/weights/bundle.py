"""Put trained networks into the bundle: `none` whole, every attention type as an adapter on it.

    python assets/weights/bundle.py FOLDER

FOLDER holds everyday-<attention>.safetensors, as `make.sh` leaves them, that share a backbone.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from vggviz.attention import ATTENTION
from vggviz.weights import assets_folder, load_network, read_backbone, save_network

FACTS = {
    "licence": "Apache-2.0 for the weights; the data's terms apply to what they were trained on",
    "limits": "knows 84 classes, and calls anything else one of them; sees one small square; "
    "not for any decision about people",
    "card": "assets/weights/README.md",
}


def main(folder: Path) -> None:
    out = assets_folder() / "weights"
    for attention in ("none", *ATTENTION):
        name = f"everyday-{attention}"
        model, card = load_network(folder / f"{name}.safetensors")
        under = None if attention == "none" else read_backbone("everyday", "none")
        facts = {**card.facts, **FACTS}
        save_network(model, replace(card, backbone=under, facts=facts), out / f"{name}.safetensors")
        size = (out / f"{name}.safetensors").stat().st_size
        print(f"{name}: {size / 2**20:.2f} MiB, {facts['validation']}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

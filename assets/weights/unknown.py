"""Measure when a network should say 'this may be none of the things that I know'.

    python assets/weights/unknown.py everyday tiny-imagenet-50.zip tiny-imagenet-150.zip

The first archive holds validation pictures of the network's own classes, the second training
pictures of others, of which `COUNT` a class are taken, without those that one of everyday's classes
is made of. (`everyday` was pretrained on these other classes, too, under their own names.) A
picture's score is the probability of the answer (Hendrycks and Gimpel 2017, arXiv:1610.02136) or
the energy, log Σ_k exp(z_k) of the logits z (Liu et al. 2020, arXiv:2010.03759); a low score is
doubted. Half of the pictures, by a hash of the file's name, choose the threshold, below which lie
`DOUBTED` of the known; the other half gives the rates that are reported. The score by which more of
the choosing half's unknown pictures are doubted, over all attention types, is taken. Writes
unknown-<weights>.json beside this file.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from everyday.classes import read_classes
from torch import Tensor

from vggviz.data import Dataset, open_dataset, read_crops
from vggviz.explainer import Explainer
from vggviz.files import atomic_write
from vggviz.weights import assets_folder, bundled_types

COUNT = 8  # pictures a class that the network does not know
DOUBTED = 0.1  # share of the known pictures that may be doubted
STAGE = "block4"  # the lowest one with attention
BATCH = 100
SCORES = ("probability", "energy")


def digest(file: str) -> int:
    """A number from the hash of a file's name: the same everywhere."""
    return int.from_bytes(hashlib.sha256(Path(file).name.encode()).digest()[:4], "big")


def others(archive: str, known: Dataset) -> Dataset:
    """`COUNT` pictures, by their hashes, of each class of `archive` that neither `known` has nor
    belongs to a class of `everyday`."""
    data = open_dataset(archive, "train")
    taken = {name for one in read_classes() if one.in_network for name in one.members}
    chosen: list[int] = []
    for target, wnid in enumerate(data.wnids):
        if wnid not in known.wnids and wnid not in taken:
            pictures = torch.nonzero(data.targets == target)[:, 0].tolist()
            chosen += sorted(pictures, key=lambda index: digest(data.files[index]))[:COUNT]
    return data.subset(torch.tensor(chosen))


class Pictures(NamedTuple):
    """What arrives at `STAGE` of each picture (n, C, h, w), and which of them choose the threshold
    (n,)."""

    features: Tensor
    choosing: Tensor


@torch.no_grad()
def read(data: Dataset, explainer: Explainer) -> Pictures:
    """All pictures of `data`, run up to the lowest stage with attention, below which all types of
    bundled weights are the same network."""
    crops, _ = read_crops(data, explainer.preprocess, memory=1 << 34)
    assert isinstance(crops, Tensor)
    features = [
        explainer.model.features_before(
            explainer.preprocess.normalise(batch.movedim(1, -1).numpy()), STAGE
        )
        for batch in crops.split(BATCH)
    ]
    choosing = torch.tensor([digest(file) % 2 == 0 for file in data.files])
    return Pictures(torch.cat(features), choosing)


@torch.no_grad()
def scores(explainer: Explainer, features: Tensor) -> dict[str, Tensor]:
    """The score of each picture (n,), by its name."""
    logits = torch.cat([explainer.model(batch, STAGE) for batch in features.split(BATCH)])
    return {"probability": logits.softmax(1).amax(1), "energy": logits.logsumexp(1)}


def auroc(known: Tensor, unknown: Tensor) -> float:
    """How often a known picture has a higher score than an unknown one, ties counting a half."""
    ordered = unknown.sort().values
    below = torch.searchsorted(ordered, known)
    upto = torch.searchsorted(ordered, known, right=True)
    return float((below + upto).double().mean() / 2 / len(unknown))


def measure(
    explainer: Explainer, known: Pictures, unknown: Pictures
) -> dict[str, dict[str, float]]:
    """Threshold and rates of each score; `chosen` is the rate of the unknown that choose."""
    of_known, of_unknown = scores(explainer, known.features), scores(explainer, unknown.features)
    found: dict[str, dict[str, float]] = {}
    for name in SCORES:
        own = of_known[name][known.choosing], of_known[name][~known.choosing]
        other = of_unknown[name][unknown.choosing], of_unknown[name][~unknown.choosing]
        threshold = float(own[0].quantile(DOUBTED))
        found[name] = {
            "threshold": threshold,
            "known_doubted": float((own[1] < threshold).double().mean()),
            "unknown_doubted": float((other[1] < threshold).double().mean()),
            "auroc": auroc(own[1], other[1]),
            "chosen": float((other[0] < threshold).double().mean()),
            "known": len(own[1]),
            "unknown": len(other[1]),
        }
    return found


def main(weights: str, known_archive: str, unknown_archive: str) -> None:
    data = open_dataset(known_archive, "val")
    first = Explainer.load(weights)
    known, unknown = (read(one, first) for one in (data, others(unknown_archive, data)))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for attention in bundled_types(weights):
        found[attention] = measure(Explainer.load(weights, attention), known, unknown)
        print(attention, json.dumps(found[attention]), flush=True)
    rates = {name: sum(one[name].pop("chosen") for one in found.values()) for name in SCORES}
    score = max(SCORES, key=rates.__getitem__)
    thresholds = {key: {"score": score, **one[score]} for key, one in found.items()}
    file = assets_folder() / "weights" / f"unknown-{weights}.json"
    with atomic_write(file) as part:
        part.write_text(json.dumps({"thresholds": thresholds}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

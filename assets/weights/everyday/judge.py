"""Judge a weights file on pictures that nothing was chosen by, as a visitor's are prepared.

    python -m everyday.judge FILE tiny-imagenet-50.zip tiny-imagenet-150.zip caltech-101-40.zip

tiny50's validation pictures, and eight photographs of each of Caltech-101's categories that the
network has a class for, at their full size.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections import Counter

import torch
from PIL import Image
from torch import Tensor

from everyday.classes import parts_of_photographs, read_classes
from everyday.unify import photograph_files
from vggviz.data import open_dataset
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.weights import load_network


@torch.no_grad()
def logits_of(model: Network, preprocess: Preprocess, images: list[Image.Image]) -> Tensor:
    """The logits (n, K) of pictures."""
    batches = torch.cat([preprocess(image) for image in images]).split(100)
    return torch.cat([model(batch) for batch in batches])


def rank_of(logits: Tensor, targets: Tensor) -> Tensor:
    """How many classes are likelier than the right one, (n,)."""
    return (logits > logits.gather(1, targets[:, None])).sum(1)


def shares(name: str, ranks: Tensor) -> str:
    """'name: top-1 73.0%, top-5 90.1% of 1224'."""
    first, five = (ranks < 1).float().mean(), (ranks < 5).float().mean()
    return f"{name}: top-1 {first:.1%}, top-5 {five:.1%} of {len(ranks)}"


def main(file: str, tiny: str, _: str, caltech: str) -> None:
    torch.set_num_threads(2)
    model, card = load_network(file)
    validation = open_dataset(tiny, "val")
    images = [validation.image(index) for index in range(len(validation))]
    logits = logits_of(model, card.preprocess, images)
    own = torch.tensor([card.wnids.index(wnid) for wnid in validation.wnids])
    print(shares("tiny50's pictures among its 50", rank_of(logits[:, own], validation.targets)))
    print(shares("the same among all classes", rank_of(logits, own[validation.targets])))
    archive = zipfile.ZipFile(caltech)
    found: dict[str, Tensor] = {}
    wrong: Counter[str] = Counter()
    for category, names in photograph_files(archive).items():
        labels = [one.label for one in read_classes() if category in one.members]
        if not labels or labels[0] not in card.labels:
            continue
        target = card.labels.index(labels[0])
        held = [name for name, part in parts_of_photographs(names).items() if part == "report"]
        images = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in held]
        scores = logits_of(model, card.preprocess, images)
        ranks = rank_of(scores, torch.full((len(held),), target))
        found[category] = ranks
        for predicted in scores.argmax(1)[ranks > 0].tolist():
            wrong[f"{labels[0]} → {card.labels[predicted]}"] += 1
    print(shares("photographs", torch.cat(list(found.values()))))
    if "Faces" in found:
        print(f"faces called person: {(found['Faces'] < 1).float().mean():.1%}")
    hardest = sorted(found, key=lambda name: float((found[name] < 1).float().mean()))[:12]
    print("hardest:", {name: int((found[name] < 1).sum()) for name in hardest})
    print("most frequent errors:", wrong.most_common(12))


if __name__ == "__main__":
    main(*sys.argv[1:])

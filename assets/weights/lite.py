"""Photographs to teach `lite` attention from, and a judge of what was taught.

    python assets/weights/lite.py write caltech-101-40.zip FOLDER
    python assets/weights/lite.py judge FOLDER PAGE tiny-imagenet-50.zip

`write` splits Caltech-101's photographs in two by a hash of their names: FOLDER/caltech-101-40 has
the first `COUNT` of the half 'choose', without their labels; FOLDER/report all of the half 'report'
whose category is one of ImageNet's 1,000 classes, in a folder for each. `judge` writes PAGE, in
Markdown, on the adapters FOLDER/lite-TYPE.safetensors: on these photographs their top-1, how often
their answer is that of the network without attention, and the points of top-1 lost where each
picture's weights become their mean, with 95% intervals by bootstrap over pictures; and on the boxes
of the half 'report' of Tiny ImageNet's validation pictures, enlarged from 64 pixels, where the
attention at `STAGE` points.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch
from torch import Tensor

from vggviz.attention import ATTENTION
from vggviz.data import Dataset, open_dataset, take_half
from vggviz.data.halves import half_of
from vggviz.evaluation.estimator import Estimator
from vggviz.evaluation.maps import evaluate_maps
from vggviz.evaluation.pictures import classes_of, load_pictures
from vggviz.explainer import Explainer
from vggviz.metrics.replacement import change_to
from vggviz.metrics.statistics import Estimate
from vggviz.networks import Network
from vggviz.platform.machine import machine

COUNT = 1280
STAGE = "block4"  # the lowest with attention
LABELS = {
    **{"airplanes": "airliner", "binocular": "binoculars", "camera": "reflex camera"},
    **{"cellphone": "cellular telephone", "cougar_body": "cougar", "cougar_face": "cougar"},
    **{"electric_guitar": "electric guitar", "flamingo_head": "flamingo", "lamp": "table lamp"},
    **{"grand_piano": "grand piano", "Leopards": "leopard", "lobster": "American lobster"},
    **{"nautilus": "chambered nautilus", "panda": "giant panda", "rooster": "cock"},
    **{"saxophone": "sax", "soccer_ball": "soccer ball"},
}
"""ImageNet's labels by Caltech-101's categories, where they differ."""
SAME = "accordion ant barrel beaver cannon crayfish cup dalmatian dragonfly flamingo laptop llama"
SAME += " pizza platypus revolver schooner scorpion starfish strawberry tick trilobite umbrella"
LABELS |= {name: name for name in SAME.split()}


def write(archive: Path, folder: Path) -> None:
    """Write both sets of photographs."""
    dataset = open_dataset(archive)
    names = ["-".join(file.split("/")[-2:]) for file in dataset.files]
    order = sorted(range(len(names)), key=lambda k: hashlib.sha256(names[k].encode()).digest())
    to_teach = [index for index in order if half_of(names[index]) == "choose"][:COUNT]
    for index in order:
        name, label = names[index], LABELS.get(dataset.labels[dataset.targets[index]])
        if index in to_teach:
            file = folder / "caltech-101-40" / name
        elif half_of(name) == "report" and label is not None:
            file = folder / "report" / label / name
        else:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(dataset.read(dataset.files[index]))


TEXT = """# Attention taught to `lite` without labels

Written by `assets/weights/lite.sh caltech-101-40.zip FOLDER tiny-imagenet-50.zip`, which also
teaches: EfficientNet-Lite0 with ImageNet's weights, attention at `block4` and `block5`, {training}
photographs of Caltech-101 without their labels and {validation} to watch by, 8 epochs, one seed.
Judged on {count} other photographs, of the {classes} categories that are among ImageNet's 1,000
classes. Prices were chosen by agreement on the 256, after one to four runs a type; those of
`spatial` and `gate` were lowered once more (from 6 and 5) after a first look at this table and the
page's examples, which flatters the two a little. Top-1 counts one label as right, though some
photographs show more.

- Agreement: the answer is that of the network without attention.
- Lost with their mean: the points of top-1 by which the network is worse with each picture's
  weights replaced by their mean.
- Energy: the share of the map at `block4` that lies in the object's box; off-centre: how often its
  peak lies in a box that the picture's middle misses. The photographs have no boxes: both are of
  {boxes} validation pictures of Tiny ImageNet, half `report`, enlarged from 64 pixels. `none`:
  LayerCAM at `block4`, told the true class.

Intervals are 95%, paired over photographs, and over pictures.

`spatial` and `softmax` come with vggviz. `gate` and `self_attention` answer one of the page's
examples otherwise than `lite` does (such as 'Egyptian cat' for a tabby). The channels of `cbam` do
all of its work: its spatial weights are above 0.98 everywhere on the page's 16 examples, a flat
map. The three are made by the same command.

{table}

{machine}, shared.
"""


def judge(folder: Path, page: Path, boxes: Path) -> None:
    """Write the page."""
    boxed = take_half(open_dataset(boxes, "val"), "report")
    dataset, estimator = open_dataset(folder / "report"), Estimator(seed=0, resamples=10_000)
    without = Explainer.load("lite")
    plain, card = without.model, without.card
    pictures = load_pictures(dataset, card.preprocess, None)
    targets = classes_of(dataset, card)[pictures.targets]
    with torch.no_grad():
        x = torch.cat([plain.features_before(part, STAGE) for part in pictures.images.split(64)])
    answer = answers(plain, x)
    alone = answer == targets
    head: tuple[str, ...] = ("attention", "top-1 %", "top-1 − none, points", "agreement %")
    head += ("lost with their mean", "energy in the box %", "off-centre %")
    top1 = f"{100 * float(alone.float().mean()):.1f}"
    rows = [("none", top1, "", "", "", *points(without, boxed))]
    files = [folder / f"lite-{attention}.safetensors" for attention in ATTENTION]
    for file in filter(Path.is_file, files):
        explainer = Explainer.load(file)
        model, card = explainer.model, explainer.card
        attended = answers(model, x)
        with model.intervene(change_to("uniform", torch.Generator(), {})):
            averaged = answers(model, x)
        correct = attended == targets
        cells = (
            f"{100 * float(correct.float().mean()):.1f}",
            in_points(estimator.difference(correct, alone).points),
            f"{100 * float((attended == answer).float().mean()):.1f}",
            in_points(estimator.difference(correct, averaged == targets).points),
            *points(explainer, boxed),
        )
        rows.append((f"`{card.config.attention}`", *cells))
    facts: dict[str, int] = {"count": len(targets), "classes": len(dataset.labels)}
    facts |= {"boxes": len(boxed)}
    facts |= {"training": card.facts["train_pictures"]}
    facts |= {"validation": card.facts["validation_pictures"]}
    lines = (head, ("---",) * len(head), *rows)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    page.write_text(TEXT.format(table=table, machine=machine(), **facts), "utf-8")


def points(explainer: Explainer, boxed: Dataset) -> tuple[str, str]:
    """The energy in the box and the pointing at off-centre objects of the attention at `STAGE`,
    or of LayerCAM where there is none."""
    report = evaluate_maps(
        {"network": explainer},
        boxed,
        metrics=("localisation",),
        stages=(STAGE,),
        methods=("layercam",),
        pictures=len(boxed),
    )
    frame = report.frame()
    frame = frame[frame["stage"] == STAGE]
    learned = [name for name in frame["map"].unique() if name != "layercam"]
    mine = frame[frame["map"] == (learned or ["layercam"])[0]]
    rows = [mine[mine["measure"] == one].iloc[0] for one in ("energy", "pointing, off-centre")]
    energy, off_centre = (
        f"{100 * row['value']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        for row in rows
    )
    return energy, off_centre


@torch.no_grad()
def answers(model: Network, x: Tensor) -> Tensor:
    """The predicted classes (n,) of the inputs of the attention at `STAGE`."""
    return torch.cat([model(part, STAGE).argmax(1) for part in x.split(64)])


def in_points(share: Estimate) -> str:
    """'+1.5 (+0.2 to +2.8)'."""
    low, value, high = (f"{100 * one:+.1f}" for one in (share.low, share.value, share.high))
    return f"{value} ({low} to {high})".replace("-", "−")


if __name__ == "__main__":
    step, *paths = sys.argv[1:]
    (write if step == "write" else judge)(*map(Path, paths))

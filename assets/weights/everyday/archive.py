"""Write the pictures of the network's classes for `vggviz train`, and the teacher's soft labels.

    python -m everyday.archive FOLDER

FOLDER holds what `everyday.unify` and `everyday.soft_labels` left. Writes FOLDER/everyday.zip, with
a folder for each class in `train` and `val`, and FOLDER/teacher.safetensors, with 'logits' in the
order of the training pictures. Of each class there are at most `MOST` training pictures, and those
of a small class stand up to three times, until there are `LEAST`; their sharpness varies as in
`everyday.augment`. 'val' holds the pictures that nothing was chosen by.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from everyday.augment import vary_sharpness
from everyday.classes import indices_in_network
from everyday.pictures import Pictures, read_pictures
from everyday.train import epoch_order, with_true_label_first
from vggviz.files import atomic_write

LEAST, MOST, REPEATS, SEED = 150, 300, 3, 2


def add(archive: zipfile.ZipFile, part: str, labels: list[str], pixels: Tensor) -> None:
    """Add pictures, uint8 (n, 3, H, W), in order: part/label/number.png."""
    for number, (label, picture) in enumerate(zip(labels, pixels, strict=True)):
        bgr = np.ascontiguousarray(picture.permute(1, 2, 0).numpy()[..., ::-1])
        coded = cv2.imencode(".png", bgr)[1].tobytes()
        archive.writestr(f"{part}/{label}/{number:05}.png", coded)


def sorted_by_label(pictures: Pictures, indices: Tensor) -> tuple[Tensor, list[str]]:
    """The pictures as a folder of class folders lists them, and the label of each."""
    labels = [pictures.labels[target] for target in pictures.targets[indices].tolist()]
    order = sorted(range(len(labels)), key=labels.__getitem__)  # stable: numbers ascend in a class
    return indices[torch.tensor(order)], [labels[index] for index in order]


def main(folder: Path) -> None:
    pictures, order = read_pictures(folder).restrict(indices_in_network())
    generator = torch.Generator().manual_seed(SEED)
    train = pictures.of_part("train")
    train = train[pictures.targets[train] < pictures.everyday]
    train = train[epoch_order(pictures.targets[train], LEAST, MOST, REPEATS, generator)]
    train, labels = sorted_by_label(pictures, train)
    judged = torch.cat([pictures.of_part("val"), pictures.of_part("report")])
    judged, judged_labels = sorted_by_label(
        pictures, judged[pictures.targets[judged] < pictures.everyday]
    )
    varied = [
        (vary_sharpness(pictures.pixels(some).float() / 255, generator) * 255).round().byte()
        for some in train.split(1000)
    ]
    with (
        atomic_write(folder / "everyday.zip") as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,
    ):
        add(archive, "train", labels, torch.cat(varied))
        add(archive, "val", judged_labels, pictures.pixels(judged))
    classes = [pictures.labels.index(label) for label in sorted(set(labels))]
    soft = torch.from_numpy(np.load(folder / "soft.npy"))[train][:, order[torch.tensor(classes)]]
    photographs = torch.tensor([pictures.names[i].startswith("caltech") for i in train.tolist()])
    targets = torch.tensor([classes.index(one) for one in pictures.targets[train].tolist()])
    soft = with_true_label_first(soft, targets, photographs)
    save_file({"logits": soft.contiguous()}, folder / "teacher.safetensors")
    print(f"{len(train)} training pictures, {len(judged)} to judge by, {len(classes)} classes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

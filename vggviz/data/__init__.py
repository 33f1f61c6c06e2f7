"""Data sets: class folders, Tiny ImageNet, COCO, Pascal VOC, CUB, and unlabelled pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vggviz.data.companions import is_mask
from vggviz.data.crops import Crops, read_crops
from vggviz.data.dataset import DataError, Dataset
from vggviz.data.halves import HALVES, half_of, take_half
from vggviz.data.layouts import find_layout
from vggviz.data.masks import Masks
from vggviz.data.source import find_pictures, ignored_text, open_source, split_pictures
from vggviz.data.splits import part_named

__all__ = [
    "HALVES",
    "Crops",
    "DataError",
    "Dataset",
    "Masks",
    "find_pictures",
    "half_of",
    "ignored_text",
    "open_dataset",
    "open_parts",
    "open_unlabelled",
    "parts_of",
    "read_crops",
    "take_half",
]


def open_dataset(
    path: str | Path, part: str | None = None, classes: Sequence[str] | None = None
) -> Dataset:
    """The pictures at `path`, a folder or a zip file, with their boxes and masks.

    Tiny ImageNet's layout (Stanford CS231n: `wnids.txt`, `words.txt`, `train/<wnid>/images`,
    `val/val_annotations.txt`) has the parts 'train' and 'val', CUB-200-2011's (`images.txt`,
    `bounding_boxes.txt`, …) 'train' and 'test'. COCO's (`instances_val2017.json`) and Pascal VOC's
    (XML files beside pictures or in `Annotations`, `ImageSets/Main`) have parts by these names.

    Any other is a folder of class folders, as torchvision's ImageFolder reads it; where it has
    folders for training, validation or testing, by any usual name ('Training', 'valid', 'dev',
    'test_set'), those are its parts 'train', 'val' and 'test'. Boxes come from VOC's XML files,
    masks from a folder `masks` that repeats the class folders. A folder that holds nothing but one
    other folder stands for that one; hidden files and folders are left out.

    `part` is by default the first; `classes` selects classes by label or WordNet id. Raises
    DataError.
    """
    root = Path(path)
    dataset = find_layout(root).load(part, classes, objects=True)
    return _check_classes(dataset, root, part, least=1)


def parts_of(path: str | Path) -> tuple[str, ...]:
    """The parts that the data at `path` has, of 'train', 'val' and 'test', in this order.

    Raises DataError.
    """
    return find_layout(Path(path)).parts


def open_parts(
    path: str | Path, classes: Sequence[str] | None = None, *, generator: torch.Generator
) -> tuple[Dataset, Dataset]:
    """The training and the validation set at `path`, which have the same classes.

    The data's own parts 'train' and 'val' where it has them, as `open_dataset` says; without 'val'
    a fifth of every class, chosen with `generator`, becomes the validation set. A part 'test' is
    not used. Raises DataError.
    """
    root = Path(path)
    layout = find_layout(root)
    if layout.parts and "train" not in layout.parts:
        raise DataError(
            f"{root} has no part to learn from, only {', '.join(map(repr, layout.parts))}"
        )
    first = "train" if layout.parts else None
    training = _check_classes(layout.load(first, classes), root, first)
    if "val" not in layout.parts:
        for target, count in enumerate(torch.bincount(training.targets).tolist()):
            if count < 2:
                raise DataError(
                    f"class {training.labels[target]!r} has 1 picture and needs 2: one to learn "
                    "from and one to judge by"
                )
        return training.split(0.2, generator)
    validation = layout.load("val", classes)
    for here, there, name in ((training, validation, "val"), (validation, training, "train")):
        lacking = [repr(label) for label in here.labels if label not in there.labels]
        if lacking:
            raise DataError(
                f"both parts of the data need the same classes: {name!r} lacks {', '.join(lacking)}"
            )
    return training, _check_classes(validation, root, "val")


def open_unlabelled(path: str | Path, *, generator: torch.Generator) -> tuple[Dataset, Dataset]:
    """All pictures below the folder or in the zip file `path`: four fifths to learn from, and a
    fifth, chosen with `generator`, to judge by. Folders mean nothing, but those that are parts for
    validation or testing by name are left out, and masks. There are no labels: all targets are 0.

    Raises DataError where there are fewer than two pictures.
    """
    source = open_source(Path(path))
    names, ignored = split_pictures(source)
    parts = [{part_named(folder) for folder in name.split("/")[:-1]} for name in names]
    files = sorted(
        name
        for name, part in zip(names, parts, strict=True)
        if not part & {"val", "test"} and not is_mask(name)
    )
    if len(files) < 2:
        raise DataError(f"{path} has {len(files)} pictures to learn from; at least 2 are needed")
    targets = torch.zeros(len(files), dtype=torch.long)
    pictures = Dataset(tuple(files), targets, (), (), None, source.read, ignored)
    order = torch.randperm(len(files), generator=generator)
    held = max(1, len(files) // 5)
    return pictures.subset(order[held:].sort().values), pictures.subset(order[:held].sort().values)


def _check_classes(
    dataset: Dataset, root: Path, part: str | None = None, *, least: int = 2
) -> Dataset:
    """The data set itself. Raises DataError for a class without pictures, and for fewer classes
    than `least`: two to learn from, one to judge by."""
    counts = torch.bincount(dataset.targets, minlength=len(dataset.labels))
    for label, count in zip(dataset.labels, counts.tolist(), strict=True):
        if count == 0:
            where = f" in the part {part!r}" if part else ""
            raise DataError(f"class {label!r} has no pictures{where}")
    if len(dataset.labels) < least:
        classes = "2 classes are" if least == 2 else "1 class is"
        raise DataError(f"at least {classes} needed, {root} has {len(dataset.labels)}")
    return dataset

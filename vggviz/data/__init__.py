"""Labelled pictures: folders of class folders, and Tiny ImageNet as its authors ship it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from vggviz.data.dataset import DataError, Dataset
from vggviz.data.layouts import find_layout

__all__ = ["DataError", "Dataset", "open_dataset", "open_parts", "parts_of"]


def open_dataset(
    path: str | Path, part: str | None = None, classes: Sequence[str] | None = None
) -> Dataset:
    """The pictures at `path`: a folder or a zip file, of either layout.

    Tiny ImageNet's layout (Stanford CS231n: `wnids.txt`, `words.txt`, `train/<wnid>/images`,
    `val/val_annotations.txt`) has `part` 'train' and 'val'. Any other is a folder of class
    folders, as torchvision's ImageFolder reads it; where it has folders named `train` and `val`
    those are its parts, and else `part` must be None. `classes` keeps some classes only, by
    label or WordNet id. Raises DataError.
    """
    root = Path(path)
    return _usable(find_layout(root).load(part, classes), root, part)


def parts_of(path: str | Path) -> tuple[str, ...]:
    """The parts that the data at `path` comes in: to learn from and to judge by, or none.

    Raises DataError.
    """
    return find_layout(Path(path)).parts


def open_parts(
    path: str | Path, classes: Sequence[str] | None = None, *, generator: torch.Generator
) -> tuple[Dataset, Dataset]:
    """The pictures at `path` to learn from, and those to judge by, of the same classes.

    The data's own parts where it has them, as `open_dataset` says; else a fifth of every class,
    drawn with `generator`, is set apart. Raises DataError.
    """
    root = Path(path)
    layout = find_layout(root)
    if not layout.parts:
        dataset = _usable(layout.load(None, classes), root)
        for target, count in enumerate(torch.bincount(dataset.targets).tolist()):
            if count < 2:
                raise DataError(
                    f"class {dataset.labels[target]!r} has 1 picture and needs 2: one to learn "
                    "from and one to judge by"
                )
        return dataset.split(0.2, generator)
    first, second = layout.parts
    training, validation = layout.load(first, classes), layout.load(second, classes)
    for here, there, name in ((training, validation, second), (validation, training, first)):
        lacking = [repr(label) for label in here.labels if label not in there.labels]
        if lacking:
            raise DataError(
                f"both parts of the data need the same classes: {name!r} lacks {', '.join(lacking)}"
            )
    return _usable(training, root, first), _usable(validation, root, second)


def _usable(dataset: Dataset, root: Path, part: str | None = None) -> Dataset:
    counts = torch.bincount(dataset.targets, minlength=len(dataset.labels))
    for label, count in zip(dataset.labels, counts.tolist(), strict=True):
        if count == 0:
            where = f" in the part {part!r}" if part else ""
            raise DataError(f"class {label!r} has no pictures{where}")
    if len(dataset.labels) < 2:
        raise DataError(f"training needs at least 2 classes, {root} has {len(dataset.labels)}")
    return dataset

"""CUB-200-2011 in the layout of its authors: text files with a line for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from vggviz.data.companions import find_companions, is_mask
from vggviz.data.dataset import DataError, Dataset, choose_classes
from vggviz.data.masks import read_masks
from vggviz.data.source import Source

__all__ = ["find_cub", "has_split", "load_cub"]

TABLES = ("images.txt", "image_class_labels.txt", "classes.txt", "bounding_boxes.txt")
SPLIT = "train_test_split.txt"


def find_cub(source: Source) -> str | None:
    """The folder of CUB's tables, with a slash at its end ('' for the root); None without them."""
    names = set(source.names)
    for name in source.names:
        prefix = name.removesuffix(TABLES[0])
        if prefix != name and all(f"{prefix}{table}" in names for table in TABLES):
            return prefix
    return None


def has_split(source: Source, prefix: str) -> bool:
    """Whether CUB's division into 'train' and 'test' is there."""
    return f"{prefix}{SPLIT}" in source.names


def load_cub(
    source: Source, prefix: str, part: str | None, classes: Sequence[str] | None
) -> Dataset:
    """The pictures of a part ('train' or 'test'), all where that is None, with one box each, and
    with the masks in `segmentations` where that folder is there.

    Raises DataError for tables that are broken or name pictures that are not there, and for a class
    in `classes` that is not there.
    """

    def table(name: str, columns: int) -> dict[str, list[str]]:
        """The lines of a table by their first column, each with `columns` others."""
        rows: dict[str, list[str]] = {}
        for line in source.read(f"{prefix}{name}").decode("utf-8", "replace").splitlines():
            key, *values = line.split(None, columns)
            if len(values) != columns:
                raise DataError(f"{name} has a line without {columns + 1} columns: {line}")
            rows[key] = [value.strip() for value in values]
        return rows

    def numbers(name: str, key: str) -> list[float]:
        try:
            return [float(value) for value in boxes[key]]
        except (KeyError, ValueError) as error:
            raise DataError(f"{name} has no box of 4 numbers for {paths[key]}") from error

    paths = {key: path for key, (path,) in table("images.txt", 1).items()}
    class_of = {key: label for key, (label,) in table("image_class_labels.txt", 1).items()}
    boxes = table("bounding_boxes.txt", 4)
    names = {key: name for key, (name,) in table("classes.txt", 1).items()}
    wanted = {"train": "1", "test": "0"}.get(part or "")
    learned = table(SPLIT, 1) if wanted else {}
    keys = [key for key in paths if not wanted or learned.get(key) == [wanted]]
    existing = set(source.names)
    for key in keys:
        if f"{prefix}images/{paths[key]}" not in existing:
            raise DataError(f"images.txt names images/{paths[key]}, which is missing")
        if class_of.get(key) not in names:
            raise DataError(f"image_class_labels.txt has no class of {paths[key]}")
    order = [*names]
    labels = [*names.values()]
    chosen = [order[index] for index in choose_classes(labels, labels, classes, part)]
    rows = sorted(
        (chosen.index(class_of[key]), paths[key], key) for key in keys if class_of[key] in chosen
    )
    sizes = torch.tensor([numbers("bounding_boxes.txt", key) for *_, key in rows]).reshape(-1, 2, 2)
    ends = torch.stack((sizes[:, 0], sizes.sum(1)), 1)  # (n, 2, 2): left, top; right, bottom
    files = tuple(f"{prefix}images/{path}" for _, path, _ in rows)
    masks = find_companions(files, filter(is_mask, source.names), folders=1)
    return Dataset(
        files=files,
        targets=torch.tensor([target for target, *_ in rows], dtype=torch.long),
        labels=tuple(names[key] for key in chosen),
        wnids=(),
        boxes=ends.reshape(-1, 1, 4).unbind(),
        read=source.read,
        masks=tuple(
            partial(read_masks, source.read, masks[file]) if file in masks else None
            for file in files
        )
        if masks
        else None,
    )

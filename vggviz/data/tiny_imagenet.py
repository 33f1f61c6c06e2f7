"""Tiny ImageNet in the layout of its authors: Stanford CS231n's tables, pictures and boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from vggviz.data.dataset import DataError, Dataset, choose_classes
from vggviz.data.source import Source, is_picture

__all__ = ["PARTS", "load_tiny_imagenet"]

PARTS = ("train", "val")


def load_tiny_imagenet(
    source: Source, prefix: str, part: str | None, classes: Sequence[str] | None
) -> Dataset:
    """Stanford CS231n's layout. Lines that name a class outside `wnids.txt` are ignored.

    Raises DataError for tables that are broken or don't fit the pictures, and for a class in
    `classes` that is not there.
    """
    existing = set(source.names)
    folders: dict[str, set[str]] = {}  # the pictures in each
    for name in existing:
        if is_picture(name):
            folders.setdefault(name.rpartition("/")[0], set()).add(name)

    def table(name: str) -> list[list[str]]:
        if f"{prefix}{name}" not in existing:
            raise DataError(f"Tiny ImageNet without its {name}")
        lines = source.read(f"{prefix}{name}").decode("utf-8", "replace").splitlines()
        return [line.split("\t") for line in lines if line.strip()]

    def boxes_of(name: str, folder: str, columns: int) -> list[tuple[list[str], list[int]]]:
        """The lines of a table as (columns before the box, box); its files are the folder's."""
        rows: list[tuple[list[str], list[int]]] = []
        for line in table(name):
            if len(line) != columns or not all(value.strip().isdecimal() for value in line[-4:]):
                text = " ".join(line)
                raise DataError(f"{name} has a line without a file and 4 whole numbers: {text}")
            rows.append((line[:-4], [int(value) for value in line[-4:]]))
        named = [f"{prefix}{folder}/{row[0][0]}" for row in rows]
        _check_table(named, folders.get(f"{prefix}{folder}", set()), name, prefix)
        return rows

    all_wnids = sorted({row[0].strip() for row in table("wnids.txt")})
    names = _labels(all_wnids, table("words.txt"))
    chosen = choose_classes(names, all_wnids, classes, part)
    wnids = [all_wnids[index] for index in chosen]
    rows: list[tuple[str, str, list[int]]] = []  # wnid, file, box
    if part == "val":
        for (file, wnid), box in boxes_of("val/val_annotations.txt", "val/images", 6):
            rows.append((wnid, f"{prefix}val/images/{file}", box))
        rows = [row for row in rows if row[0] in wnids]
    else:
        start = f"{prefix}train/"
        train_folders = {
            name[len(start) :].split("/", 1)[0] for name in existing if name.startswith(start)
        }
        for wnid in wnids:
            folder = f"train/{wnid}"
            if wnid not in train_folders:
                raise DataError(f"wnids.txt names {wnid}, but there is no folder {folder}")
            for (file,), box in boxes_of(f"{folder}/{wnid}_boxes.txt", f"{folder}/images", 5):
                rows.append((wnid, f"{prefix}{folder}/images/{file}", box))
    rows.sort()
    boxes = torch.tensor([row[2] for row in rows], dtype=torch.float32).reshape(-1, 1, 4)
    return Dataset(
        files=tuple(row[1] for row in rows),
        targets=torch.tensor([wnids.index(row[0]) for row in rows], dtype=torch.long),
        labels=tuple(names[index] for index in chosen),
        wnids=tuple(wnids),
        boxes=(boxes + torch.tensor([0.0, 0.0, 1.0, 1.0])).unbind(),  # to exclusive ends
        read=source.read,
    )


def _labels(wnids: Sequence[str], words: Iterable[Sequence[str]]) -> list[str]:
    """The first word of each synset; where two share one (crane, bird or machine), its WordNet id
    beside it."""
    first = {row[0]: row[1].split(",")[0].strip() for row in words if len(row) > 1}
    labels = [first.get(wnid, wnid) for wnid in wnids]
    shared = {label for label, count in Counter(labels).items() if count > 1}
    return [
        f"{label} ({wnid})" if label in shared else label
        for label, wnid in zip(labels, wnids, strict=True)
    ]


def _check_table(named: Sequence[str], existing: set[str], table: str, prefix: str) -> None:
    """Raise DataError unless the pictures that a table names are those that exist."""
    twice = [name for name, count in Counter(named).items() if count > 1]
    for names, what in (
        (sorted(set(named) - existing), f"{table} names {{}}, which is missing"),
        (sorted(existing - set(named)), f"{table} does not name {{}}, which is there"),
        (twice, f"{table} names {{}} twice"),
    ):
        if names:
            more = f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""
            raise DataError(what.format(names[0].removeprefix(prefix)) + more)

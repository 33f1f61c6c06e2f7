"""Labelled pictures: folders of class folders, and Tiny ImageNet as its authors ship it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vggviz.images import ImageError, Preprocess, open_image

__all__ = ["DataError", "Dataset", "open_dataset"]

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class DataError(ValueError):
    """Pictures that cannot be used; the message is one sentence for people."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """n labelled pictures, read when wanted.

    `files` are paths below the folder or inside the archive, `targets` (n,) class indices into
    `labels` and `wnids`, `boxes` (n, 4) left, top, right, bottom in pixels of the picture,
    right and bottom exclusive; None where the data has no boxes. `wnids` is empty where classes
    have no WordNet ids.
    """

    files: tuple[str, ...]
    targets: Tensor
    labels: tuple[str, ...]
    wnids: tuple[str, ...]
    boxes: Tensor | None
    read: Callable[[str], bytes]

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Image.Image:
        """Picture `index`, RGB. Raises ImageError, naming the file, where it cannot be read."""
        try:
            return open_image(self.read(self.files[index]))
        except (ImageError, OSError) as error:
            raise ImageError(f"{self.files[index]}: {error}") from error

    def pixels(
        self,
        preprocess: Preprocess,
        *,
        progress: Callable[[int], None] = lambda _: None,
        unreadable: Callable[[ImageError], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All pictures as the network sees them, before normalising: uint8 (n, 3, size, size).

        Also their indices (n,): a picture that cannot be read is left out where `unreadable`
        takes the error, and else raises it.
        """
        pictures = torch.empty(len(self), 3, preprocess.size, preprocess.size, dtype=torch.uint8)
        kept: list[int] = []
        for index in range(len(self)):
            progress(index)
            try:
                crop, _ = preprocess.crop(self.image(index))
            except ImageError as error:
                if unreadable is None:
                    raise
                unreadable(error)
                continue
            pictures[len(kept)] = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
            kept.append(index)
        return pictures[: len(kept)], torch.tensor(kept, dtype=torch.long)

    def subset(self, indices: Tensor) -> Dataset:
        """The pictures at `indices`, with the same classes."""
        return Dataset(
            files=tuple(self.files[index] for index in indices.tolist()),
            targets=self.targets[indices],
            labels=self.labels,
            wnids=self.wnids,
            boxes=None if self.boxes is None else self.boxes[indices],
            read=self.read,
        )

    def split(self, fraction: float, generator: torch.Generator) -> tuple[Dataset, Dataset]:
        """Two parts, the second with `fraction` of every class and at least one picture of it."""
        second = torch.zeros(len(self), dtype=torch.bool)
        for target in range(len(self.labels)):
            members = torch.nonzero(self.targets == target)[:, 0]
            count = max(1, round(fraction * len(members)))
            order = torch.randperm(len(members), generator=generator)
            second = second.index_fill(0, members[order[:count]], True)
        return self.subset(torch.nonzero(~second)[:, 0]), self.subset(torch.nonzero(second)[:, 0])


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
    if not root.exists():
        raise DataError(f"no data at {root}: give a folder of class folders, or Tiny ImageNet")
    names, read = _zip(root) if root.is_file() else _folder(root)
    known = set(names)
    top = {name.split("/", 1)[0] for name in names}
    prefix = f"{next(iter(top))}/" if root.is_file() and len(top) == 1 else ""
    if f"{prefix}wnids.txt" in known:
        dataset = _tiny_imagenet(prefix, known, read, part or "train")
    else:
        dataset = _class_folders(prefix, names, read, part)
    if classes is not None:
        dataset = _keep(dataset, classes)
    counts = torch.bincount(dataset.targets, minlength=len(dataset.labels))
    for label, count in zip(dataset.labels, counts.tolist(), strict=True):
        if count == 0:
            raise DataError(f"class {label!r} has no pictures")
    if len(dataset.labels) < 2:
        raise DataError(f"training needs at least 2 classes, {root} has {len(dataset.labels)}")
    return dataset


def _folder(root: Path) -> tuple[list[str], Callable[[str], bytes]]:
    files = sorted(file for file in root.rglob("*") if file.is_file())
    names = [file.relative_to(root).as_posix() for file in files]
    return names, lambda name: (root / name).read_bytes()


def _zip(root: Path) -> tuple[list[str], Callable[[str], bytes]]:
    try:
        archive = zipfile.ZipFile(root)
    except zipfile.BadZipFile as error:
        raise DataError(f"{root.name} is neither a folder nor a zip file") from error
    return sorted(name for name in archive.namelist() if not name.endswith("/")), archive.read


def _tiny_imagenet(
    prefix: str, known: set[str], read: Callable[[str], bytes], part: str
) -> Dataset:
    def table(name: str) -> list[list[str]]:
        if f"{prefix}{name}" not in known:
            raise DataError(f"Tiny ImageNet without its {name}")
        lines = read(f"{prefix}{name}").decode().splitlines()
        return [line.split("\t") for line in lines if line]

    if part not in ("train", "val"):
        raise DataError(f"Tiny ImageNet has the parts 'train' and 'val', not {part!r}")
    wnids = tuple(sorted(row[0] for row in table("wnids.txt")))
    words = {row[0]: row[1].split(",")[0].strip() for row in table("words.txt") if len(row) > 1}
    rows: list[tuple[str, str, list[str]]] = []  # wnid, file, box
    if part == "val":
        for file, wnid, *box in table("val/val_annotations.txt"):
            rows.append((wnid, f"{prefix}val/images/{file}", box))
    else:
        for wnid in wnids:
            for file, *box in table(f"train/{wnid}/{wnid}_boxes.txt"):
                rows.append((wnid, f"{prefix}train/{wnid}/images/{file}", box))
    rows = sorted(row for row in rows if row[0] in wnids and row[1] in known)
    boxes = torch.tensor([[int(value) for value in row[2]] for row in rows], dtype=torch.float32)
    return Dataset(
        files=tuple(row[1] for row in rows),
        targets=torch.tensor([wnids.index(row[0]) for row in rows], dtype=torch.long),
        labels=tuple(words.get(wnid, wnid) for wnid in wnids),
        wnids=wnids,
        boxes=boxes.reshape(-1, 4) + torch.tensor([0.0, 0.0, 1.0, 1.0]),  # to exclusive ends
        read=read,
    )


def _class_folders(
    prefix: str, names: list[str], read: Callable[[str], bytes], part: str | None
) -> Dataset:
    inner = [name.removeprefix(prefix) for name in names]
    parts = {"train", "val"} <= {name.split("/", 1)[0] for name in inner}
    if part is not None and not parts:
        raise DataError(f"the data has no part {part!r}: it has no folders 'train' and 'val'")
    base = f"{part or 'train'}/" if parts else ""
    rows: list[tuple[str, str]] = []  # class, file
    classes: set[str] = set()
    for name in inner:
        pieces = name.removeprefix(base).split("/")
        if not name.startswith(base) or len(pieces) < 2 or pieces[0].startswith("."):
            continue
        classes.add(pieces[0])
        if name.lower().endswith(EXTENSIONS):
            rows.append((pieces[0], f"{prefix}{name}"))
    if not rows:
        raise DataError("no pictures found: expected one folder of pictures for each class")
    labels = tuple(sorted(classes))
    return Dataset(
        files=tuple(row[1] for row in rows),
        targets=torch.tensor([labels.index(row[0]) for row in rows], dtype=torch.long),
        labels=labels,
        wnids=(),
        boxes=None,
        read=read,
    )


def _keep(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    names = dataset.wnids or dataset.labels
    chosen: list[int] = []
    for name in classes:
        for known in (dataset.wnids, dataset.labels):
            if name in known:
                chosen.append(known.index(name))
                break
        else:
            raise DataError(f"no class {name!r} in the data: it has {', '.join(names[:8])} …")
    chosen = sorted(set(chosen))
    position = torch.full((len(names),), -1).index_copy(
        0, torch.tensor(chosen), torch.arange(len(chosen))
    )
    kept = torch.nonzero(position[dataset.targets] >= 0)[:, 0]
    part = dataset.subset(kept)
    return Dataset(
        files=part.files,
        targets=position[part.targets],
        labels=tuple(dataset.labels[index] for index in chosen),
        wnids=tuple(dataset.wnids[index] for index in chosen) if dataset.wnids else (),
        boxes=part.boxes,
        read=part.read,
    )

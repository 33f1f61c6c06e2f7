"""How pictures lie in a folder or zip file: class folders, or Tiny ImageNet as it is shipped."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch

from vggviz.data.dataset import DataError, Dataset

# What torchvision's ImageFolder takes, and GIF. `open_image` refuses .pgm and .ppm: so they are
# named as unreadable, where they would vanish in silence if they were not listed here.
EXTENSIONS = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
PARTS = ("train", "val")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A folder or an archive: `names` of files, and of folders with a slash at the end."""

    names: tuple[str, ...]
    read: Callable[[str], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """`parts` are the data's own, () if it has none; `load(part, classes)` reads one."""

    parts: tuple[str, str] | tuple[()]
    load: Callable[[str | None, Sequence[str] | None], Dataset]


def find_layout(root: Path) -> Layout:
    """The layout of the data at `root`, a folder or a zip file. Raises DataError."""
    if not root.exists():
        raise DataError(
            f"no data at {root}: give a folder of class folders, or Tiny ImageNet, "
            "which `vggviz data tiny-imagenet` fetches"
        )
    source = _zip(root) if root.is_file() else _folder(root)
    folders = {name.split("/", 1)[0] for name in source.names if "/" in name}
    tables = {"wnids.txt", *(f"{folder}/wnids.txt" for folder in folders)}
    if found := tables.intersection(source.names):
        prefix = min(found, key=lambda name: (len(name), name)).removesuffix("wnids.txt")
        return Layout(PARTS, partial(_tiny_imagenet, source, prefix))
    prefix = ""
    if root.is_file() and len(folders) == 1:  # a zip of the folder rather than of what is in it
        deep = any(name.rstrip("/").count("/") > 1 for name in source.names)
        prefix = f"{next(iter(folders))}/" if deep else ""
    inner = {
        name[len(prefix) :].split("/", 1)[0] for name in source.names if _is_below(name, prefix)
    }
    parts = PARTS if inner >= set(PARTS) else ()
    if not parts and "train" in inner and inner <= {"train", "test", "valid", "validation"}:
        raise DataError(f"{root} has the folder 'train' without one named 'val' beside it")
    return Layout(parts, partial(_class_folders, source, prefix, parts))


def _folder(root: Path) -> Source:
    def stop(error: OSError) -> NoReturn:
        raise error

    names: list[str] = []
    # Links are followed, as ImageFolder does.
    for here, folders, files in os.walk(root, onerror=stop, followlinks=True):
        below = Path(here).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        names += [f"{prefix}{folder}/" for folder in folders]
        names += [f"{prefix}{file}" for file in files]
    return Source(tuple(names), lambda name: (root / name).read_bytes())


def _zip(root: Path) -> Source:
    try:
        archive = zipfile.ZipFile(root)
    except zipfile.BadZipFile as error:
        raise DataError(f"{root.name} is neither a folder nor a zip file that is whole") from error

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise OSError(f"damaged or locked in {root.name}") from error

    names = (name for name in archive.namelist() if not name.startswith("__MACOSX/"))
    return Source(tuple(names), read)


def _is_below(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and "/" in name[len(prefix) :]


def _class_folders(
    source: Source,
    prefix: str,
    parts: tuple[str, ...],
    part: str | None,
    classes: Sequence[str] | None,
) -> Dataset:
    """As torchvision's ImageFolder reads it, in its order; hidden folders are no classes."""
    if part is not None and part not in parts:
        has = f"the parts {parts}" if parts else "no folders 'train' and 'val'"
        raise DataError(f"the data has no part {part!r}: it has {has}")
    base = f"{prefix}{part or parts[0]}/" if parts else prefix
    found: dict[str, list[str]] = {}
    for name in source.names:
        label = name[len(base) :].split("/", 1)[0]
        if _is_below(name, base) and not label.startswith("."):
            files = found.setdefault(label, [])
            if name.lower().endswith(EXTENSIONS):
                files.append(name)
    if not any(found.values()):
        raise DataError("no pictures found: expected one folder of pictures for each class")
    known = sorted(found)
    labels = tuple(known[index] for index in _choose(known, known, classes, part))
    rows = [
        (target, file)
        for target, label in enumerate(labels)
        for file in sorted(found[label], key=lambda name: name.rpartition("/")[::2])
    ]
    return Dataset(
        files=tuple(file for _, file in rows),
        targets=torch.tensor([target for target, _ in rows], dtype=torch.long),
        labels=labels,
        wnids=(),
        boxes=None,
        read=source.read,
    )


def _tiny_imagenet(
    source: Source, prefix: str, part: str | None, classes: Sequence[str] | None
) -> Dataset:
    """Stanford CS231n's layout. Lines that name a class outside `wnids.txt` are passed over."""
    if part not in (None, *PARTS):
        raise DataError(f"Tiny ImageNet has the parts 'train' and 'val', not {part!r}")
    there = set(source.names)
    folders: dict[str, set[str]] = {}  # the pictures in each
    for name in there:
        if name.lower().endswith(EXTENSIONS):
            folders.setdefault(name.rpartition("/")[0], set()).add(name)

    def table(name: str) -> list[list[str]]:
        if f"{prefix}{name}" not in there:
            raise DataError(f"Tiny ImageNet without its {name}")
        lines = source.read(f"{prefix}{name}").decode("utf-8", "replace").splitlines()
        return [line.split("\t") for line in lines if line.strip()]

    def boxes_of(name: str, folder: str, columns: int) -> list[tuple[list[str], list[int]]]:
        """The lines of a table as (columns before the box, box); its files are the folder's."""
        rows: list[tuple[list[str], list[int]]] = []
        for line in table(name):
            if len(line) != columns or not all(value.strip().isdecimal() for value in line[-4:]):
                said = " ".join(line)
                raise DataError(f"{name} has a line without a file and 4 whole numbers: {said}")
            rows.append((line[:-4], [int(value) for value in line[-4:]]))
        told = [f"{prefix}{folder}/{row[0][0]}" for row in rows]
        _compare(told, folders.get(f"{prefix}{folder}", set()), name, prefix)
        return rows

    known = sorted({row[0].strip() for row in table("wnids.txt")})
    names = _labels(known, table("words.txt"))
    chosen = _choose(names, known, classes, part)
    wnids = [known[index] for index in chosen]
    rows: list[tuple[str, str, list[int]]] = []  # wnid, file, box
    if part == "val":
        for (file, wnid), box in boxes_of("val/val_annotations.txt", "val/images", 6):
            rows.append((wnid, f"{prefix}val/images/{file}", box))
        rows = [row for row in rows if row[0] in wnids]
    else:
        start = f"{prefix}train/"
        trained = {name[len(start) :].split("/", 1)[0] for name in there if name.startswith(start)}
        for wnid in wnids:
            folder = f"train/{wnid}"
            if wnid not in trained:
                raise DataError(f"wnids.txt names {wnid}, but there is no folder {folder}")
            for (file,), box in boxes_of(f"{folder}/{wnid}_boxes.txt", f"{folder}/images", 5):
                rows.append((wnid, f"{prefix}{folder}/images/{file}", box))
    rows.sort()
    boxes = torch.tensor([row[2] for row in rows], dtype=torch.float32).reshape(-1, 4)
    return Dataset(
        files=tuple(row[1] for row in rows),
        targets=torch.tensor([wnids.index(row[0]) for row in rows], dtype=torch.long),
        labels=tuple(names[index] for index in chosen),
        wnids=tuple(wnids),
        boxes=boxes + torch.tensor([0.0, 0.0, 1.0, 1.0]),  # to exclusive ends
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


def _compare(told: Sequence[str], there: set[str], table: str, prefix: str) -> None:
    """Raise DataError unless the pictures a table tells of are the ones that are there."""
    twice = [name for name, count in Counter(told).items() if count > 1]
    for names, what in (
        (sorted(set(told) - there), f"{table} names {{}}, which is missing"),
        (sorted(there - set(told)), f"{table} does not name {{}}, which is there"),
        (twice, f"{table} names {{}} twice"),
    ):
        if names:
            more = f" (and {len(names) - 1} more like it)" if len(names) > 1 else ""
            raise DataError(what.format(names[0].removeprefix(prefix)) + more)


def _choose(
    labels: Sequence[str], wnids: Sequence[str], classes: Sequence[str] | None, part: str | None
) -> list[int]:
    """Indices of the classes that are wanted, in the data's own order."""
    if classes is None:
        return list(range(len(labels)))
    where = f"the part {part!r} of the data" if part else "the data"
    some = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
    for name in classes:
        if name not in labels and name not in wnids:
            raise DataError(f"no class {name!r} in {where}: it has {some}")
    wanted = set(classes)
    pairs = zip(labels, wnids, strict=True)
    return [index for index, pair in enumerate(pairs) if wanted & set(pair)]

"""Folders of class folders, as torchvision's ImageFolder reads them, with or without parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from vggviz.data.dataset import DataError, Dataset, choose_classes
from vggviz.data.source import Source, is_picture
from vggviz.data.splits import PARTS, part_named

__all__ = ["Folder", "build_tree", "find_parts", "load_class_folders"]

DEPTH = 64  # of nested folders: far more than data sets have, far fewer than the recursion limit
_WRAPPERS = ("data", "images", "img", "imgs", "photos", "pictures")


@dataclass(slots=True, eq=False)
class Folder:
    """A folder with its subfolders by name. `path` ends with a slash, '' for the root; `pictures`
    are the paths of those that lie directly in it."""

    path: str
    folders: dict[str, Folder] = field(default_factory=dict["str", "Folder"])
    pictures: list[str] = field(default_factory=list[str])

    def all_pictures(self) -> list[str]:
        """The pictures in it and its subfolders, at any depth."""
        inner = [name for folder in self.folders.values() for name in folder.all_pictures()]
        return self.pictures + inner

    def nonempty(self) -> dict[str, Folder]:
        """The subfolders that contain pictures, at any depth."""
        return {name: folder for name, folder in self.folders.items() if folder.has_pictures()}

    def has_pictures(self) -> bool:
        """Whether it contains a picture, at any depth."""
        return bool(self.pictures) or any(one.has_pictures() for one in self.folders.values())


def build_tree(names: Iterable[str]) -> Folder:
    """The tree of the folders and pictures among `names` of a `Source`."""
    root = Folder("")
    for name in names:
        folder = root
        *parts, last = name.split("/")
        if len(parts) > DEPTH:
            continue
        for part in parts:
            path = f"{folder.path}{part}/"
            folder = folder.folders.setdefault(part, Folder(path))
        if is_picture(last):
            folder.pictures.append(name)
    return root


def find_parts(root: Folder, where: str) -> tuple[Folder, dict[str, Folder]]:
    """The folder whose subfolders are the classes or the parts, and the parts by name, {} where
    there are none; each part is the folder of its classes.

    A folder stands for its only subfolder, also with a few pictures beside that. Raises DataError,
    which names the path `where`, for a folder that can be understood in two ways.
    """
    folder = root
    while True:
        nonempty = folder.nonempty()
        named_parts = {
            name: part_named(name) for name, one in nonempty.items() if _holds_classes(one)
        }
        parts = {name: part for name, part in named_parts.items() if part}
        if parts:
            others = [name for name in nonempty if name not in parts and not part_named(name)]
            _check_parts(parts, others, where)
            named = {part: name for name, part in parts.items()}
            return folder, {part: _unwrap(nonempty[named[part]]) for part in PARTS if part in named}
        inner = next(iter(nonempty.values())) if len(nonempty) == 1 else None
        if inner is None or 2 * len(inner.pictures) >= len(inner.all_pictures()):
            return folder, {}
        folder = inner


def _holds_classes(folder: Folder) -> bool:
    """Whether its subfolders can be classes, unlike those in 'test/test/1.jpg',
    'train/images/1.jpg'."""
    nonempty = folder.nonempty()
    if len(nonempty) == 1:
        (name, inner), *_ = nonempty.items()
        return not folder.pictures and (not _is_wrapper(name) or bool(inner.nonempty()))
    return len(nonempty) > 1


def _is_wrapper(name: str) -> bool:
    """Whether a folder that is alone in a part holds the classes, by its name, and is no class."""
    return bool(part_named(name)) or name.casefold() in _WRAPPERS


def _check_parts(parts: Mapping[str, str], others: Sequence[str], where: str) -> None:
    for part in PARTS:
        names = [name for name, one in parts.items() if one == part]
        if len(names) > 1:
            raise DataError(
                f"the folders {_quoted(names)} of {where} could both be the part {part!r}: keep one"
            )
    if len(parts) == 1 and others:
        raise DataError(
            f"{where} has the part {next(iter(parts))!r} beside other folders of pictures "
            f"({_quoted(others)}): give the folder whose folders are the classes"
        )


def _unwrap(folder: Folder) -> Folder:
    """The folder of classes in 'seg_train/seg_train/…' or 'train/images/…'."""
    while len(nonempty := folder.nonempty()) == 1:
        (name, inner), *_ = nonempty.items()
        if not _is_wrapper(name) or inner.pictures:
            break
        folder = inner
    return folder


def load_class_folders(
    source: Source, folder: Folder, part: str | None, classes: Sequence[str] | None, where: str
) -> Dataset:
    """The subfolders of `folder` as classes, with all pictures below each, in ImageFolder's order.

    Raises DataError where there are no pictures, where all classes hold only several folders and no
    pictures directly, and for a class in `classes` that does not exist.
    """
    nonempty = folder.nonempty()
    if not nonempty:
        raise DataError("no pictures found: expected one folder of pictures for each class")
    _check_classes(nonempty, where)
    names = sorted(folder.folders)
    labels = tuple(names[index] for index in choose_classes(names, names, classes, part))
    rows = [
        (target, file)
        for target, label in enumerate(labels)
        for file in sorted(
            folder.folders[label].all_pictures(), key=lambda name: name.rpartition("/")[::2]
        )
    ]
    return Dataset(
        files=tuple(file for _, file in rows),
        targets=torch.tensor([target for target, _ in rows], dtype=torch.long),
        labels=labels,
        wnids=(),
        boxes=None,
        read=source.read,
    )


def _check_classes(nonempty: Mapping[str, Folder], where: str) -> None:
    if all(part_named(name) for name in nonempty) and (len(nonempty) > 1 or "train" in nonempty):
        raise DataError(
            f"the parts {_quoted(nonempty)} of {where} hold pictures: expected one folder of "
            "pictures for each class in each of them"
        )
    if any(folder.pictures for folder in nonempty.values()):
        return
    inner = {name: tuple(folder.nonempty()) for name, folder in nonempty.items()}
    shared = set(inner.values())
    if len(shared) > 1 or len(next(iter(shared))) > 1:  # but not 'cat/images', 'dog/images'
        name, folders = next(iter(inner.items()))
        raise DataError(
            f"the folders {_quoted(nonempty)} of {where} hold only folders, such as "
            f"{_quoted(folders)} in {name!r}, and no pictures: give the folder whose folders are "
            "the classes"
        )


def _quoted(names: Iterable[str]) -> str:
    listed = [repr(name) for name in names]
    return ", ".join(listed[:4]) + (", …" if len(listed) > 4 else "")

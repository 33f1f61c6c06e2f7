"""The layout of data in a folder or zip file: class folders, Tiny ImageNet's, COCO's, VOC's or
CUB's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from vggviz.data.annotate import annotate
from vggviz.data.class_folders import Folder, build_tree, find_parts, load_class_folders
from vggviz.data.coco import find_coco, load_coco
from vggviz.data.companions import find_companions, is_annotation, is_mask
from vggviz.data.cub import find_cub, has_split, load_cub
from vggviz.data.dataset import DataError, Dataset
from vggviz.data.source import Source, open_source, split_pictures
from vggviz.data.splits import PARTS, part_named
from vggviz.data.tiny_imagenet import PARTS as TINY_PARTS
from vggviz.data.tiny_imagenet import load_tiny_imagenet
from vggviz.data.voc import find_voc, load_voc

__all__ = ["Layout", "find_layout"]

Loader: TypeAlias = Callable[[str | None, Sequence[str] | None], Dataset]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The layout of data. `parts` are those of 'train', 'val', 'test' that it has; `ignored` counts
    files that are not used, by extension. `loader` reads a part, or all pictures for None where
    there are no parts; `annotate` adds boxes and masks to its result where they are apart from the
    classes."""

    parts: tuple[str, ...]
    ignored: Mapping[str, int]
    loader: Loader
    annotate: Callable[[Dataset], Dataset] = lambda dataset: dataset

    def load(
        self, part: str | None, classes: Sequence[str] | None, *, objects: bool = False
    ) -> Dataset:
        """The pictures of a part, by default the first, of these `classes`; with `objects` also
        with their boxes and masks where these are in files of their own. Raises DataError."""
        name = part and (part_named(part) or part)
        if name is not None and name not in self.parts:
            has = "the parts " + ", ".join(map(repr, self.parts)) if self.parts else "no parts"
            raise DataError(f"the data has no part {part!r} with classes: it has {has}")
        dataset = self.loader(name or next(iter(self.parts), None), classes)
        dataset = replace(dataset, ignored=self.ignored)
        return self.annotate(dataset) if objects else dataset


def find_layout(root: Path) -> Layout:
    """The layout of the data at `root`, a folder or a zip file. Raises DataError."""
    if not root.exists():
        raise DataError(
            f"no data at {root}: give a folder of class folders, or Tiny ImageNet, "
            "which `vggviz data tiny-imagenet` fetches"
        )
    source = open_source(root)
    pictures, ignored = split_pictures(source)
    folders = {name.split("/", 1)[0] for name in source.names if "/" in name}
    tables = {"wnids.txt", *(f"{folder}/wnids.txt" for folder in folders)}
    if present := tables.intersection(source.names):
        tiny = min(present, key=lambda file: (len(file), file)).removesuffix("wnids.txt")
        del ignored[".txt"]  # Tiny ImageNet's tables, which are used
        return Layout(TINY_PARTS, ignored, partial(load_tiny_imagenet, source, tiny))
    if (prefix := find_cub(source)) is not None:
        del ignored[".txt"]
        parts = ("train", "test") if has_split(source, prefix) else ()
        return Layout(parts, ignored, partial(load_cub, source, prefix))
    if files := find_coco(source, pictures):
        ignored[".json"] -= len(files)
        return Layout(
            tuple(part for part in PARTS if part in files),
            +ignored,
            lambda part, classes: load_coco(source, pictures, files[part or ""], part, classes),
        )
    masks = [name for name in pictures if is_mask(name)]
    others = [name for name in pictures if not is_mask(name)]
    if not find_companions(others, masks, folders=1, endings=True):
        masks, others = [], pictures  # of no picture: they are a class called 'masks'
    if (annotated := find_voc(source, others)) is not None:
        del ignored[".xml"]
        return Layout(
            tuple(part for part in PARTS if part in annotated),
            ignored,
            lambda part, classes: load_voc(source, annotated[part or ""], part, classes),
        )
    return _class_folders(root, source, others, masks, ignored)


def _class_folders(
    root: Path, source: Source, pictures: list[str], masks: list[str], ignored: Counter[str]
) -> Layout:
    """The layout of class folders, with or without parts."""
    hidden = {*masks, *filter(is_annotation, source.names)} - {*pictures}
    folder, parts = find_parts(
        build_tree(name for name in source.names if name not in hidden), str(root)
    )
    used = parts.values() if parts else folder.folders.values()
    outside = len(pictures) - sum(len(_class_pictures(one, bool(parts))) for one in used)
    if outside:
        ignored["pictures outside the class folders"] = outside

    def load(part: str | None, classes: Sequence[str] | None) -> Dataset:
        own = parts.get(part or "", folder)
        where = str(root / own.path) if own.path else str(root)
        return load_class_folders(source, own, part, classes, where)

    def with_objects(dataset: Dataset) -> Dataset:
        return annotate(dataset, source, pictures, masks)

    return Layout(tuple(parts), ignored, load, with_objects)


def _class_pictures(folder: Folder, is_part: bool) -> list[str]:
    """All pictures of a class, or of a part's classes."""
    if not is_part:
        return folder.all_pictures()
    return [name for one in folder.folders.values() for name in one.all_pictures()]

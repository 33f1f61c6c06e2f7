"""The layout of data in a folder or zip file: class folders, or Tiny ImageNet's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vggviz.data.class_folders import Folder, build_tree, find_parts, load_class_folders
from vggviz.data.dataset import DataError, Dataset
from vggviz.data.source import Source, open_source, split_pictures
from vggviz.data.splits import part_named
from vggviz.data.tiny_imagenet import PARTS as TINY_PARTS
from vggviz.data.tiny_imagenet import load_tiny_imagenet

__all__ = ["Layout", "find_layout"]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The layout of the data at `root`. `parts` are those of 'train', 'val', 'test' that it has.

    `prefix` is the folder of Tiny ImageNet's tables, None for class folders: those are in `folder`,
    or in the `folders` of the parts. `ignored` counts files that are not used, by extension.
    """

    root: Path
    source: Source
    parts: tuple[str, ...]
    ignored: Mapping[str, int]
    prefix: str | None
    folder: Folder
    folders: Mapping[str, Folder]

    def load(self, part: str | None, classes: Sequence[str] | None) -> Dataset:
        """The pictures of a part, by default the first, of these `classes`. Raises DataError."""
        name = part and (part_named(part) or part)
        if self.prefix is not None:
            dataset = load_tiny_imagenet(self.source, self.prefix, name, classes)
        elif name is not None and name not in self.parts:
            has = "the parts " + ", ".join(map(repr, self.parts)) if self.parts else "no parts"
            raise DataError(f"the data has no part {part!r} with class folders: it has {has}")
        else:
            folder = self.folders.get(name or next(iter(self.parts), ""), self.folder)
            where = str(self.root / folder.path) if folder.path else str(self.root)
            dataset = load_class_folders(self.source, folder, part, classes, where)
        return replace(dataset, ignored=self.ignored)


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
        prefix = min(present, key=lambda file: (len(file), file)).removesuffix("wnids.txt")
        del ignored[".txt"]  # Tiny ImageNet's tables, which are used
        return Layout(root, source, TINY_PARTS, ignored, prefix, Folder(""), {})
    folder, parts = find_parts(build_tree(source.names), str(root))
    used = parts.values() if parts else folder.folders.values()
    outside = len(pictures) - sum(len(_class_pictures(one, bool(parts))) for one in used)
    if outside:
        ignored["pictures outside the class folders"] = outside
    return Layout(root, source, tuple(parts), ignored, None, folder, parts)


def _class_pictures(folder: Folder, is_part: bool) -> list[str]:
    """All pictures of a class, or of a part's classes."""
    if not is_part:
        return folder.all_pictures()
    return [name for one in folder.folders.values() for name in one.all_pictures()]

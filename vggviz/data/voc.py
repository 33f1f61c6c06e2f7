"""Pascal VOC's annotations: an XML file for each picture, with the name and box of each object."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from xml.etree import ElementTree

from vggviz.data.companions import class_folder, find_companions, is_annotation
from vggviz.data.dataset import DataError, Dataset
from vggviz.data.objects import Box, Instance, build_dataset, note
from vggviz.data.source import Source
from vggviz.data.splits import part_named

__all__ = ["find_voc", "load_voc", "read_voc", "xml_files"]

_LIST = re.compile(r"(?:^|/)ImageSets/Main/(train|val|test)\.txt$")


def read_voc(read: Callable[[str], bytes], file: str) -> list[tuple[str, Box]]:
    """The names and boxes of the objects in an XML file; difficult ones are objects as well.

    VOC counts pixels from 1 and includes the last: left = xmin − 1, right = xmax. Raises DataError
    for what is no such file.
    """
    try:
        root = ElementTree.fromstring(read(file))
    except ElementTree.ParseError as error:
        raise DataError(f"{file} is not XML: {error}") from error
    found: list[tuple[str, Box]] = []
    for one in root.findall("object"):
        name = (one.findtext("name") or "").strip()
        texts = [one.findtext(f"bndbox/{key}", "") for key in ("xmin", "ymin", "xmax", "ymax")]
        try:
            left, top, right, bottom = map(float, texts)
        except ValueError:
            name = ""
        if not name:
            raise DataError(f"{file} has an object without a name or without a box of 4 numbers")
        found.append((name, (left - 1, top - 1, right, bottom)))
    return found


def xml_files(source: Source, pictures: Iterable[str]) -> dict[str, list[str]]:
    """The XML files of each picture that has any. Raises DataError for one that may be of two."""
    return find_companions(pictures, [name for name in source.names if name.endswith(".xml")])


def find_voc(source: Source, pictures: Sequence[str]) -> dict[str, dict[str, list[str]]] | None:
    """The pictures with their XML files by part, where classes stand in these files alone, as in
    VOC's own layout (JPEGImages, Annotations); None without XML files or with folders of classes.

    Parts are those of `ImageSets/Main`, or else folders such as 'train'; '' where there are none.
    """
    pictures = [name for name in pictures if not is_annotation(name)]
    if len({class_folder(name) for name in pictures}) != 1:
        return None
    files = xml_files(source, pictures)
    if not files:
        return None
    lists = {
        match[1]: set(source.read(name).decode("utf-8", "replace").split())
        for name in source.names
        if (match := _LIST.search(name))
    }
    parts = defaultdict[str, dict[str, list[str]]](dict)
    for picture in pictures:
        listed = [part for part in lists if PurePosixPath(picture).stem in lists[part]]
        folders = map(part_named, picture.split("/")[:-1])
        for part in listed if lists else [next(filter(None, folders), "")]:
            parts[part][picture] = files.get(picture, [])
    return {part: some for part, some in parts.items() if part} or parts


def load_voc(
    source: Source,
    files: Mapping[str, Sequence[str]],
    part: str | None,
    classes: Sequence[str] | None,
) -> Dataset:
    """The pictures of a part, each with its XML `files`, with the classes and boxes that these
    have; classes are sorted by name. Raises DataError."""
    instances = [
        Instance(picture, name, box)
        for picture, some in files.items()
        for file in some
        for name, box in read_voc(source.read, file)
    ]
    bare = [picture for picture, some in files.items() if not some]
    labels = sorted({one.label for one in instances})
    notes = note(bare, "no XML file, and is left out")
    return build_dataset(instances, labels, source, part, classes, notes)

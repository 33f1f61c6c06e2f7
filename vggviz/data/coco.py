"""COCO's annotations: one JSON file with the boxes and outlines of the objects of all pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from vggviz.data.companions import find_companions
from vggviz.data.dataset import DataError, Dataset
from vggviz.data.objects import Instance, build_dataset, note
from vggviz.data.source import Source
from vggviz.data.splits import PARTS, part_named
from vggviz.images import MAX_PIXELS

__all__ = ["find_coco", "load_coco"]


def find_coco(source: Source, pictures: Sequence[str]) -> dict[str, str]:
    """The JSON files by part, '' where a name says none: 'instances_val2017.json', or
    'valid/_annotations.coco.json'. Where pictures are in folders of parts, parts without a folder
    are left out. Raises DataError where two are of one part."""
    folders = {folder for name in pictures for folder in name.split("/")[:-1]}
    there = {part for folder in folders if (part := part_named(folder))}
    found: dict[str, str] = {}
    for name in sorted(source.names):
        path = PurePosixPath(name.lower())
        if path.match("instances*.json") or path.match("*.coco.json"):
            part = part_named(_split(name)) or part_named(path.parent.name) or ""
            if part in found:
                raise DataError(f"{found[part]} and {name} could both be the annotations: keep one")
            found[part] = name
    named = {part: name for part, name in found.items() if part in (there or PARTS)}
    return named or found


def _split(file: str) -> str:
    """'val2017' of 'annotations/instances_val2017.json'."""
    return PurePosixPath(file).stem.lower().removeprefix("instances").strip("_")


def load_coco(
    source: Source,
    pictures: Sequence[str],
    file: str,
    part: str | None,
    classes: Sequence[str] | None,
) -> Dataset:
    """The pictures that a JSON file names, once for each class of their objects, with the boxes and
    masks of these; crowds are objects as well. Classes are in the file's order.

    Pictures that are not there are left out, with a note. Raises DataError for a file that is not
    in COCO's format.
    """
    try:
        content = json.loads(source.read(file))
        labels = {one["id"]: str(one["name"]) for one in content["categories"]}
        images = {one["id"]: one for one in content["images"]}
        # Where a name is in several folders, that of the split, or the JSON file's own, counts.
        folder = _split(file) if part_named(_split(file)) else str(PurePosixPath(file).parent)
        names = {key: f"{folder}/{one['file_name']}" for key, one in images.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file} is not in COCO's format: {_cause(error)}") from error
    owners = find_companions(pictures, dict.fromkeys(names.values()))
    paths = {name: picture for picture, some in owners.items() for name in some}
    instances: list[Instance] = []
    for one in content.get("annotations", ()):
        try:
            name, label = names[one["image_id"]], labels[one["category_id"]]
            if name in paths:
                instances.append(_instance(one, images[one["image_id"]], paths[name], label))
        except (ValueError, KeyError, TypeError) as error:
            identity = one.get("id") if isinstance(one, Mapping) else one
            cause = _cause(error)
            raise DataError(f"{file}: the annotation {identity} can't be used: {cause}") from error
    missing = [images[key]["file_name"] for key, name in names.items() if name not in paths]
    absent = note(missing, f"annotations in {file}, but no picture")
    return build_dataset(instances, [*labels.values()], source, part, classes, absent)


def _instance(one: Mapping[str, Any], image: Mapping[str, Any], path: str, label: str) -> Instance:
    left, top, width, height = map(float, one["bbox"])
    box = left, top, left + width, top + height
    outline = one.get("segmentation")
    if not outline:
        return Instance(path, label, box)
    size = int(image["height"]), int(image["width"])
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError("its picture would be too large")
    return Instance(path, label, box, outline, size)


def _cause(error: Exception) -> str:
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)

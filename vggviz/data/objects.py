"""A data set from a list of objects, as data for detection have it: several in a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from vggviz.data.dataset import DataError, Dataset, choose_classes
from vggviz.data.masks import draw_masks
from vggviz.data.source import Source

__all__ = ["Box", "Instance", "build_dataset", "note"]

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels, exclusive ends


@dataclass(frozen=True, slots=True)
class Instance:
    """An object in a picture: the picture's file, its class, and its box. `segmentation` is its
    outline in COCO's format in a picture of `size` (height, width), None where it has none."""

    file: str
    label: str
    box: Box
    segmentation: Any = None
    size: tuple[int, int] = (0, 0)

    @property
    def has_area(self) -> bool:
        """Whether the box is wider and higher than 0."""
        left, top, right, bottom = self.box
        return right > left and bottom > top


def build_dataset(
    instances: Sequence[Instance],
    labels: Sequence[str],
    source: Source,
    part: str | None,
    classes: Sequence[str] | None,
    notes: Sequence[str],
) -> Dataset:
    """The data set in which a picture stands once for each class that it has objects of.

    `labels` are the classes in their order, of which those without objects are left out, as are
    objects whose box has no area; a note says so. Raises DataError where there are no objects, and
    for a class in `classes` that is not there.
    """
    groups = defaultdict[tuple[str, str], list[Instance]](list)
    for one in instances:
        if one.has_area:
            groups[one.label, one.file].append(one)
    with_objects = {label for label, _ in groups}
    if not groups:
        raise DataError("no picture has an object with a box")
    known = [label for label in dict.fromkeys(labels) if label in with_objects]
    chosen = [known[index] for index in choose_classes(known, known, classes, part)]
    rows = sorted((chosen.index(label), file) for label, file in groups if label in chosen)
    objects = [groups[chosen[target], file] for target, file in rows]
    outlined = [all(one.segmentation for one in some) for some in objects]
    empty = [one.file for one in instances if not one.has_area]
    return Dataset(
        files=tuple(file for _, file in rows),
        targets=torch.tensor([target for target, _ in rows], dtype=torch.long),
        labels=tuple(chosen),
        wnids=(),
        boxes=tuple(torch.tensor([one.box for one in some]) for some in objects),
        read=source.read,
        masks=tuple(
            partial(draw_masks, some[0].file, [one.segmentation for one in some], *some[0].size)
            if has_outlines
            else None
            for some, has_outlines in zip(objects, outlined, strict=True)
        )
        if any(outlined)
        else None,
        notes=(*notes, *note(empty, "a box without area, which is left out")),
    )


def note(files: Collection[str], what: str) -> tuple[str, ...]:
    """A sentence that says `what` the files have and names one; () where there are no files."""
    if not files:
        return ()
    first = min(files)
    if len(files) == 1:
        return (f"{first} has {what}",)
    return (f"{first} and {len(files) - 1:,} more have {what}",)

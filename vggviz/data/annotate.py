"""Class folders with annotations: boxes in Pascal VOC's XML files, and folders of masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from vggviz.data.companions import find_companions
from vggviz.data.dataset import Dataset
from vggviz.data.masks import read_masks
from vggviz.data.objects import Instance, note
from vggviz.data.source import Source
from vggviz.data.voc import read_voc, xml_files
from vggviz.types import matching

__all__ = ["annotate"]


def annotate(
    dataset: Dataset, source: Source, pictures: Sequence[str], masks: Sequence[str]
) -> Dataset:
    """The data set with the boxes of its pictures' XML files and with their `masks`, which are
    names of files; itself where it has neither. `pictures` are those of all parts.

    Of the objects in an XML file those count that have the name of the picture's class. Where no
    file has such an object the names are of another vocabulary ('cat' in a folder 'siamese'), and
    all objects count. Pictures without a box or a mask are named in a note. Raises DataError.
    """
    xml_by_picture = xml_files(source, pictures)
    masks_by_picture = find_companions(pictures, masks, folders=1, endings=True)
    mask_files = [masks_by_picture.get(file, []) for file in dataset.files]
    objects = [
        [
            Instance(file, name, box)
            for xml in xml_by_picture.get(file, ())
            for name, box in read_voc(source.read, xml)
        ]
        for file in dataset.files
    ]
    labels = [dataset.labels[target] for target in dataset.targets.tolist()]
    of_class = [
        [some[index] for index in matching(label, [one.label for one in some])]
        for label, some in zip(labels, objects, strict=True)
    ]
    if any(of_class):
        objects = of_class
    flat = [one.file for some in objects for one in some if not one.has_area]
    boxes = [[one.box for one in some if one.has_area] for some in objects]
    kinds: dict[str, list[Any]] = {"box of its class": boxes, "mask": mask_files}
    lacking = {file for file, *some in zip(dataset.files, boxes, mask_files, strict=True)
               if not any(some)}  # fmt: skip
    what = " and no ".join(kind for kind, some in kinds.items() if any(some))
    used = Counter({".xml": sum(map(len, xml_by_picture.values()))})
    return replace(
        dataset,
        boxes=tuple(torch.tensor(some).reshape(-1, 4) for some in boxes) if any(boxes) else None,
        masks=tuple(partial(read_masks, source.read, some) if some else None for some in mask_files)
        if any(mask_files)
        else None,
        notes=(
            *note(flat, "a box without area, which is left out"),
            *(note(lacking, f"no {what}") if what else ()),
        ),
        ignored=Counter(dataset.ignored) - used,
    )

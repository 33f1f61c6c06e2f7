"""A data set of labelled pictures, read from files on access."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch import Tensor

from vggviz.data.masks import Masks
from vggviz.images import ImageError, open_image
from vggviz.types import matching


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence for users."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """n labelled pictures, read from files on access.

    `files` are paths below the folder or inside the archive, `targets` (n,) class indices into
    `labels` and `wnids`; `wnids` is empty where classes have no WordNet ids. A picture with objects
    of several classes stands once for each.

    `boxes` are those of each picture's objects of its class: (k, 4) left, top, right, bottom in
    pixels of the upright picture, right and bottom exclusive; `masks` read or draw the masks of
    these objects, None for a picture without. Both are None where the data has none. `notes` are
    sentences on objects that are missing or left out. `ignored` counts the other files of the data,
    by extension.
    """

    files: tuple[str, ...]
    targets: Tensor
    labels: tuple[str, ...]
    wnids: tuple[str, ...]
    boxes: tuple[Tensor, ...] | None
    read: Callable[[str], bytes]
    ignored: Mapping[str, int] = field(default_factory=dict[str, int])
    masks: tuple[Callable[[], Masks] | None, ...] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Image.Image:
        """Picture `index`, RGB. Raises ImageError, naming the file, where it cannot be read."""
        try:
            return open_image(self.read(self.files[index]))
        except (ImageError, OSError) as error:
            raise ImageError("image_in_data", file=self.files[index], error=error) from error

    @property
    def has_objects(self) -> bool:
        """Whether the data has boxes or masks."""
        return self.boxes is not None or self.masks is not None

    def objects(self, index: int, width: int, height: int) -> tuple[Tensor, Masks | None]:
        """The boxes (k, 4) and the masks of picture `index`, which has this size in pixels; where
        the data has masks alone, boxes around them; (0, 4) where
        it has neither.

        Raises ImageError, naming the file, for a mask that cannot be read or has other proportions,
        and for a box that lies outside the picture by more than a pixel.
        """
        load = None if self.masks is None else self.masks[index]
        masks = None if load is None else load()
        for mask in () if masks is None else (*masks.objects, *masks.ignored):
            rows, columns = mask.shape
            if abs(columns * height - rows * width) > max(columns + rows, width + height):
                size = f"{columns} × {rows}"
                raise ImageError("mask_proportions", file=self.files[index], size=size,
                                 picture=f"{width} × {height}")  # fmt: skip
        if self.boxes is None:
            return (Masks(()) if masks is None else masks).boxes(width, height), masks
        for left, top, right, bottom in self.boxes[index].tolist():
            if min(left, top) < -1 or right > width + 1 or bottom > height + 1:
                box = ", ".join(f"{edge:g}" for edge in (left, top, right, bottom))
                raise ImageError("box_outside", file=self.files[index], box=box,
                                 picture=f"{width} × {height}")  # fmt: skip
        return self.boxes[index], masks

    def subset(self, indices: Tensor) -> Dataset:
        """The pictures at `indices`, with the same classes."""
        return replace(
            self,
            files=tuple(self.files[index] for index in indices.tolist()),
            targets=self.targets[indices],
            boxes=self.boxes and tuple(self.boxes[index] for index in indices.tolist()),
            masks=self.masks and tuple(self.masks[index] for index in indices.tolist()),
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


def choose_classes(
    labels: Sequence[str], wnids: Sequence[str], names: Sequence[str] | None, part: str | None
) -> list[int]:
    """Indices of the classes `names`, by label or WordNet id, in the data's own order; all classes
    where `names` is None. `labels` and `wnids` are equally many.

    Raises DataError for a class that the data does not have.
    """
    if names is None:
        return list(range(len(labels)))
    where = f"the part {part!r} of the data" if part else "the data"
    chosen: set[int] = set()
    for name in names:
        matches = {k % len(labels) for k in matching(name, (*labels, *wnids))}
        if not matches:
            some = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
            raise DataError(f"no class {name!r} in {where}: it has {some}")
        chosen |= matches
    return sorted(chosen)

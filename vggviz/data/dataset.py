"""A data set of labelled pictures, read from files on access."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch import Tensor

from vggviz.images import ImageError, open_image
from vggviz.types import matching


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence for users."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """n labelled pictures, read from files on access.

    `files` are paths below the folder or inside the archive, `targets` (n,) class indices into
    `labels` and `wnids`, `boxes` (n, 4) left, top, right, bottom in pixels of the picture,
    right and bottom exclusive; None where the data has no boxes. `wnids` is empty where classes
    have no WordNet ids. `ignored` counts the other files of the data, by extension.
    """

    files: tuple[str, ...]
    targets: Tensor
    labels: tuple[str, ...]
    wnids: tuple[str, ...]
    boxes: Tensor | None
    read: Callable[[str], bytes]
    ignored: Mapping[str, int] = field(default_factory=dict[str, int])

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> Image.Image:
        """Picture `index`, RGB. Raises ImageError, naming the file, where it cannot be read."""
        try:
            return open_image(self.read(self.files[index]))
        except (ImageError, OSError) as error:
            raise ImageError("image_in_data", file=self.files[index], error=error) from error

    def subset(self, indices: Tensor) -> Dataset:
        """The pictures at `indices`, with the same classes."""
        return replace(
            self,
            files=tuple(self.files[index] for index in indices.tolist()),
            targets=self.targets[indices],
            boxes=None if self.boxes is None else self.boxes[indices],
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

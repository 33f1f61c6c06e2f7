"""Pictures in batches: each is decoded once for all networks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vggviz.data import DataError, Dataset
from vggviz.images import ImageError, Preprocess
from vggviz.metrics.localisation import through_crop
from vggviz.types import matching
from vggviz.weights import Card, ForeignCard

__all__ = ["Batch", "batches", "classes_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some pictures as networks of one preprocessing see them.

    `images` (B, 3, S, S) normalised, channels last; `indices` (B,) into the dataset; `boxes`
    (B, 4) in pixels of the square, None where the data has none.
    """

    images: Tensor
    indices: Tensor
    boxes: Tensor | None


def batches(
    dataset: Dataset,
    preprocesses: Collection[Preprocess],
    size: int,
    *,
    unreadable: Callable[[int, ImageError], None] | None = None,
) -> Iterator[Mapping[Preprocess, Batch]]:
    """All pictures, at most `size` at a time, in the order of the data.

    A picture that can't be read is left out where `unreadable` takes its index and the error,
    and else raises ImageError.
    """
    for start in range(0, len(dataset), size):
        kept: list[int] = []
        squares: dict[Preprocess, list[npt.NDArray[np.uint8]]] = {one: [] for one in preprocesses}
        boxes: dict[Preprocess, list[Tensor]] = {one: [] for one in preprocesses}
        for index in range(start, min(start + size, len(dataset))):
            try:
                image = dataset.image(index)
            except ImageError as error:
                if unreadable is None:
                    raise
                unreadable(index, error)
                continue
            kept.append(index)
            for preprocess in preprocesses:
                square, crop = preprocess.crop(image)
                squares[preprocess].append(np.asarray(square))  # (S, S, 3)
                if dataset.boxes is not None:
                    box = through_crop(dataset.boxes[index].float(), crop, preprocess.size)
                    boxes[preprocess].append(box)
        if kept:
            yield {
                one: Batch(
                    one.normalise(np.stack(squares[one])).contiguous(
                        memory_format=torch.channels_last
                    ),
                    torch.tensor(kept),
                    torch.stack(boxes[one]) if boxes[one] else None,
                )
                for one in preprocesses
            }


def classes_of(dataset: Dataset, card: Card | ForeignCard) -> Tensor:
    """Which output of the network each class of the data is: (classes of the data,).

    By WordNet id where both have them, else by label; exact names come first, and no output
    stands for two classes. Raises DataError for a class that the network does not know, or whose
    label it has twice.
    """
    by_id = bool(dataset.wnids and card.wnids)
    names, known = (dataset.wnids, card.wnids) if by_id else (dataset.labels, card.labels)
    indices: list[int] = []
    for name, label in zip(names, dataset.labels, strict=True):
        # What another class of the data is called exactly is that class.
        free = (k for k in matching(name, known) if known[k] == name or known[k] not in names)
        found = [k for k in free if k not in indices]
        if len(found) != 1:
            what = f"have {len(found)} classes called" if found else "do not know the class"
            raise DataError(f"the weights {card.weights!r} {what} {label!r} of the data")
        indices += found
    return torch.tensor(indices)

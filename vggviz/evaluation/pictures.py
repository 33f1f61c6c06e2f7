"""Batches of pictures, each decoded once for all networks, and the classes that networks share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vggviz.data import DataError, Dataset, Masks
from vggviz.images import Crop, ImageError, Preprocess
from vggviz.metrics.localisation import crop_box
from vggviz.metrics.masks import IGNORED, crop_mask
from vggviz.types import matching
from vggviz.weights import Card, ForeignCard, ForeignConfig

__all__ = [
    "Pictures",
    "batches",
    "classes_of",
    "load_pictures",
    "shared_classes",
    "unknown_note",
]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """n pictures, preprocessed for networks with the same preprocessing.

    `images` (n, 3, S, S) normalised, channels last; `indices` (n,) into the dataset; `targets` (n,)
    classes; `boxes` (n, k, 4) in pixels of the square, of k objects of the class at most, zeros for
    fewer; `masks` uint8 (n, S, S) as for `score_histograms`, of `IGNORED` alone for a picture
    without one; both None where the data has none; `names` of the files.
    """

    images: Tensor
    indices: Tensor
    targets: Tensor
    boxes: Tensor | None
    masks: Tensor | None
    names: tuple[str, ...]

    def at(self, rows: Tensor) -> Pictures:
        """The pictures at `rows`: indices (m,), or a mask (n,)."""
        rows = rows.nonzero()[:, 0] if rows.dtype is torch.bool else rows
        return Pictures(
            self.images[rows],
            self.indices[rows],
            self.targets[rows],
            None if self.boxes is None else self.boxes[rows],
            None if self.masks is None else self.masks[rows],
            tuple(self.names[row] for row in rows.tolist()),
        )


def batches(
    dataset: Dataset,
    preprocesses: Collection[Preprocess],
    size: int,
    *,
    unreadable: Callable[[int, ImageError], None] | None = None,
) -> Iterator[Mapping[Preprocess, Pictures]]:
    """Yield the pictures for each preprocessing, at most `size` at a time, in the order of the
    data, with the data's class indices as targets.

    A picture that can't be read, or whose boxes or masks don't fit it, is left out after
    `unreadable` was called with its index and the error, which is raised where that is None.
    """
    for start in range(0, len(dataset), size):
        readable: list[int] = []
        squares: dict[Preprocess, list[npt.NDArray[np.uint8]]] = {one: [] for one in preprocesses}
        boxes: dict[Preprocess, list[Tensor]] = {one: [] for one in preprocesses}
        masks: dict[Preprocess, list[Tensor]] = {one: [] for one in preprocesses}
        for index in range(start, min(start + size, len(dataset))):
            try:
                image = dataset.image(index)
                some, outlines = dataset.objects(index, *image.size)
            except ImageError as error:
                if unreadable is None:
                    raise
                unreadable(index, error)
                continue
            readable.append(index)
            for preprocess in preprocesses:
                square, crop = preprocess.crop(image)
                squares[preprocess].append(np.asarray(square))  # (S, S, 3)
                boxes[preprocess].append(crop_box(some, crop, preprocess.size))
                if dataset.masks is not None:
                    masks[preprocess].append(_square(outlines, crop, preprocess.size))
        if readable:
            indices, names = torch.tensor(readable), tuple(dataset.files[k] for k in readable)
            yield {
                one: Pictures(
                    one.normalise(np.stack(squares[one])).contiguous(
                        memory_format=torch.channels_last
                    ),
                    indices,
                    dataset.targets[indices],
                    pad_sequence(boxes[one], batch_first=True) if dataset.has_objects else None,
                    torch.stack(masks[one]) if masks[one] else None,
                    names,
                )
                for one in preprocesses
            }


def _square(masks: Masks | None, crop: Crop, size: int) -> Tensor:
    """The masks of a picture in the network's square: uint8 (S, S), 1 for its objects, `IGNORED`
    for what is not judged: everything where there are none."""
    if masks is None:
        return torch.full((size, size), IGNORED, dtype=torch.uint8)
    square = np.zeros((size, size), dtype=np.uint8)
    for mask in masks.ignored:
        square[crop_mask(mask, crop, size)] = IGNORED
    for mask in masks.objects:  # which count where both lie
        square[crop_mask(mask, crop, size)] = 1
    return torch.from_numpy(square)


def load_pictures(
    dataset: Dataset, preprocess: Preprocess, unreadable: Callable[[ImageError], None] | None
) -> Pictures:
    """All pictures that can be read, at once; see `batches`. Raises DataError where there is none,
    ImageError for one that can't be read where `unreadable` is None."""
    report = None if unreadable is None else lambda _, error: unreadable(error)
    for part in batches(dataset, [preprocess], max(1, len(dataset)), unreadable=report):
        return part[preprocess]
    raise DataError("none of the pictures can be read")


def classes_of(dataset: Dataset, card: Card | ForeignCard) -> Tensor:
    """The index of the network's output for each class of the data: (classes of the data,).

    Raises DataError for a class that the network does not know, or whose label it has twice.
    """
    outputs = _outputs(dataset, card)
    for label, output in zip(dataset.labels, outputs, strict=True):
        if output is None:
            config = card.config
            network = f" of {config.network}" if isinstance(config, ForeignConfig) else ""
            unknown = f"do not know the class {label!r} of the data"
            raise DataError(f"the weights {card.weights!r}{network} {unknown}")
    return torch.tensor(outputs)


def shared_classes(
    dataset: Dataset, cards: Iterable[Card | ForeignCard]
) -> tuple[Dataset, dict[str, int]]:
    """The pictures whose class all networks know, and the numbers of pictures of the other classes.

    Raises DataError for a network with a single output, and where no class is left.
    """
    outputs: list[list[int | None]] = []
    for card in cards:
        if len(card.labels) < 2:
            raise DataError(f"{card.weights!r} has one output: there are no classes to tell apart")
        outputs.append(_outputs(dataset, card))
    known = [all(k is not None for k in column) for column in zip(*outputs, strict=True)]
    if not any(known):
        for card in cards:
            classes_of(dataset, card)
    flags, counts = torch.tensor(known), dataset.targets.bincount(minlength=len(known)).tolist()
    part = dataset.subset(flags[dataset.targets].nonzero()[:, 0])
    shared = replace(
        part,
        labels=tuple(compress(dataset.labels, known)),
        wnids=tuple(compress(dataset.wnids, known)),
        targets=(flags.cumsum(0) - 1)[part.targets],
    )
    classes = zip(dataset.labels, counts, known, strict=True)
    return shared, {label: count for label, count, one in classes if not one}


def unknown_note(unknown: Mapping[str, int]) -> str:
    """A sentence on the pictures that `shared_classes` left out, '' for none."""
    if not unknown:
        return ""
    first, more = ", ".join(map(repr, [*unknown][:3])), " …" if len(unknown) > 3 else ""
    return (
        f"Left out are {sum(unknown.values()):,} pictures of {len(unknown):,} classes that not "
        f"every network here knows: {first}{more}."
    )


def _outputs(dataset: Dataset, card: Card | ForeignCard) -> list[int | None]:
    """The index of the network's output for each class of the data, None where it has none: by
    WordNet id where both have them, else by label. Exact names come first, and no output is used
    twice. Raises DataError for a label that the network has twice."""
    by_id = bool(dataset.wnids and card.wnids)
    names, known = (dataset.wnids, card.wnids) if by_id else (dataset.labels, card.labels)
    outputs: list[int | None] = []
    for name, label in zip(names, dataset.labels, strict=True):
        # An output whose name is exactly that of another class of the data belongs to that class.
        free = (k for k in matching(name, known) if known[k] == name or known[k] not in names)
        found = [k for k in free if k not in outputs]
        if len(found) > 1:
            classes = f"{len(found)} classes called {label!r}"
            raise DataError(f"the weights {card.weights!r} have {classes} of the data")
        outputs.append(found[0] if found else None)
    return outputs

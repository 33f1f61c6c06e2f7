"""What a network sees of pictures: in memory where they are few, else read whenever wanted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vggviz.data.dataset import DataError, Dataset
from vggviz.images import ImageError, Preprocess

__all__ = ["MEMORY", "Crops", "count_workers", "read_crops"]

MEMORY = 1 << 30  # bytes of squares that are kept: 7,100 at 224 pixels, 87,000 at 64
_PER_WORKER = 64  # pictures below which starting another process does not pay


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The n squares of `dataset`, which are read from its files whenever they are wanted: item i is
    uint8 (3, size, size), before normalising. `digest` is the SHA-256 of all their pixels.

    An item raises ImageError where its file can no longer be read.
    """

    dataset: Dataset
    preprocess: Preprocess
    digest: str

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(_square(self.dataset, self.preprocess, index))


def read_crops(
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    workers: int | None = None,
    memory: int = MEMORY,
    progress: Callable[[int], None] = lambda _: None,
    unreadable: Callable[[ImageError], None] | None = None,
) -> tuple[Tensor | Crops, Tensor]:
    """All pictures as the network sees them, before normalising: item i is uint8 (3, size, size).

    They are a tensor (n, 3, size, size) where it takes at most `memory` bytes, else `Crops`. Also
    returns their indices (n,) in the dataset: a picture that can't be read is left out where
    `unreadable` takes the error, and else raises it. Every picture is decoded once here, by
    `workers` processes (by default as many as pay); `progress` is told how many are done. Raises
    DataError where a class is left without any.
    """
    count, size = len(dataset), preprocess.size
    fits = count * 3 * size * size <= memory
    pixels = torch.empty(count if fits else 0, 3, size, size, dtype=torch.uint8)
    digest = hashlib.sha256()
    kept: list[int] = []
    loader: DataLoader[npt.NDArray[np.uint8] | ImageError] = DataLoader(
        _Squares(dataset, preprocess),
        batch_size=None,
        num_workers=count_workers(count) if workers is None else workers,
        collate_fn=_as_it_is,
    )
    for index, square in enumerate(loader):
        if isinstance(square, ImageError):
            if unreadable is None:
                raise square
            unreadable(square)
        else:
            digest.update(square)
            if fits:
                pixels[len(kept)] = torch.from_numpy(square)
            kept.append(index)
        progress(index + 1)
    left = torch.tensor(kept, dtype=torch.long)
    for target in sorted(set(dataset.targets.tolist()) - set(dataset.targets[left].tolist())):
        raise DataError(f"class {dataset.labels[target]!r} has no picture that can be read")
    if fits:
        return pixels[: len(kept)], left
    return Crops(dataset.subset(left), preprocess, digest.hexdigest()), left


def count_workers(pictures: int) -> int:
    """How many processes to read so many pictures with: at most one a core, and eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, cores or 1, pictures // _PER_WORKER)


def _square(dataset: Dataset, preprocess: Preprocess, index: int) -> npt.NDArray[np.uint8]:
    """Picture `index` as (3, size, size), contiguous. Raises ImageError."""
    square, _ = preprocess.crop(dataset.image(index))
    return np.ascontiguousarray(np.array(square).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True, eq=False)
class _Squares(torch.utils.data.Dataset["npt.NDArray[np.uint8] | ImageError"]):
    """Item i is a square, or the error that says why there is none: raised in a worker, it would
    come with a traceback in its message. Arrays, since tensors go through shared memory, of which
    containers have little."""

    dataset: Dataset
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8] | ImageError:
        try:
            return _square(self.dataset, self.preprocess, index)
        except ImageError as error:
            return ImageError(str(error))


def _as_it_is(item: Any) -> Any:
    return item

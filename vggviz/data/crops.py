"""Preprocessed pictures as uint8: in memory where they fit, else read from files on access."""

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

MEMORY = 1 << 30  # bytes of pixels in memory: 7,100 pictures of 224 pixels, 87,000 of 64
_PER_WORKER = 64  # pictures below which starting another process takes longer than it saves


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """The n preprocessed pictures of `dataset`, read from files on access: item i is uint8
    (3, size, size), before normalising. `digest` is the SHA-256 of all their pixels.

    An item raises ImageError where its file can no longer be read.
    """

    dataset: Dataset
    preprocess: Preprocess
    digest: str

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(_crop(self.dataset, self.preprocess, index))


def read_crops(
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    workers: int | None = None,
    memory: int = MEMORY,
    progress: Callable[[int], None] = lambda _: None,
    unreadable: Callable[[ImageError], None] | None = None,
) -> tuple[Tensor | Crops, Tensor]:
    """All pictures resized and cropped, before normalising: item i is uint8 (3, size, size).

    Returns a tensor (n, 3, size, size) where that takes at most `memory` bytes, else `Crops`, and
    the indices (n,) of the pictures in the dataset: one that can't be read is left out after
    `unreadable` was called with the error, which is raised where that is None. All pictures are
    decoded once by `workers` processes, by default `count_workers`; `progress` is called with their
    count so far. Raises DataError where a class is left without pictures.
    """
    count, size = len(dataset), preprocess.size
    fits = count * 3 * size * size <= memory
    pixels = torch.empty(count if fits else 0, 3, size, size, dtype=torch.uint8)
    digest = hashlib.sha256()
    readable: list[int] = []
    loader: DataLoader[npt.NDArray[np.uint8] | ImageError] = DataLoader(
        _CropDataset(dataset, preprocess),
        batch_size=None,
        num_workers=count_workers(count) if workers is None else workers,
        collate_fn=_identity,
    )
    for index, crop in enumerate(loader):
        if isinstance(crop, ImageError):
            if unreadable is None:
                raise crop
            unreadable(crop)
        else:
            digest.update(crop)
            if fits:
                pixels[len(readable)] = torch.from_numpy(crop)
            readable.append(index)
        progress(index + 1)
    indices = torch.tensor(readable, dtype=torch.long)
    for target in sorted(set(dataset.targets.tolist()) - set(dataset.targets[indices].tolist())):
        raise DataError(f"class {dataset.labels[target]!r} has no picture that can be read")
    if fits:
        return pixels[: len(readable)], indices
    return Crops(dataset.subset(indices), preprocess, digest.hexdigest()), indices


def count_workers(pictures: int) -> int:
    """The number of processes to read `pictures` with: at most one for each core, and eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(8, cores or 1, pictures // _PER_WORKER)


def _crop(dataset: Dataset, preprocess: Preprocess, index: int) -> npt.NDArray[np.uint8]:
    """Picture `index` as (3, size, size), contiguous. Raises ImageError."""
    crop, _ = preprocess.crop(dataset.image(index))
    return np.ascontiguousarray(np.array(crop).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True, eq=False)
class _CropDataset(torch.utils.data.Dataset["npt.NDArray[np.uint8] | ImageError"]):
    """Item i is a crop, or an ImageError: raised in a worker it would carry a traceback in its
    message. Arrays, since tensors need shared memory, of which containers have little."""

    dataset: Dataset
    preprocess: Preprocess

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8] | ImageError:
        try:
            return _crop(self.dataset, self.preprocess, index)
        except ImageError as error:
            return ImageError(str(error))


def _identity(item: Any) -> Any:
    return item

"""Two halves of a data set: one to choose settings by, one to report numbers of."""

from __future__ import annotations

import hashlib

import torch

from vggviz.data.dataset import DataError, Dataset

__all__ = ["HALVES", "half_of", "take_half"]

HALVES = ("choose", "report")


def half_of(file: str) -> str:
    """The half that a picture belongs to: by the lowest bit of the first byte of the SHA-256 of its
    file's name, without folders, so that it depends on nothing else."""
    name = file.rpartition("/")[2]
    return HALVES[hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0] & 1]


def take_half(dataset: Dataset, half: str) -> Dataset:
    """The pictures of one of `HALVES`. Raises ValueError for another name, and DataError where
    there is no picture."""
    if half not in HALVES:
        raise ValueError(f"no half {half!r}: choose from {', '.join(HALVES)}")
    chosen = [index for index, file in enumerate(dataset.files) if half_of(file) == half]
    if not chosen:
        raise DataError(f"the half {half!r} has no pictures")
    return dataset.subset(torch.tensor(chosen))

"""Labelled examples, and batches of their augmented views from worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from vggviz.data.crops import Crops, count_workers
from vggviz.images import ImageError, Preprocess
from vggviz.training.config import TrainConfig

__all__ = ["Examples", "View", "augment", "plain_views", "resized", "view_batches"]

BATCH = 128  # pictures at a time without gradients


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """n labelled pictures: item i of `pixels` is uint8 (3, S, S), `targets` are class indices (n,).

    `pixels` is a tensor (n, 3, S, S), or `Crops` that are read from files on access. `soft` (n, K)
    are a teacher's logits for distillation, or None.
    """

    pixels: Tensor | Crops
    targets: Tensor
    soft: Tensor | None = None

    def digest(self) -> str:
        """SHA-256 of all pixels, in hexadecimal."""
        if isinstance(self.pixels, Crops):
            return self.pixels.digest
        return hashlib.sha256(self.pixels.contiguous().numpy().data).hexdigest()  # no copy

    def fingerprint(self) -> str:
        """SHA-256 of pixels, targets and soft labels, in hexadecimal."""
        digest = hashlib.sha256(self.digest().encode())
        for tensor in (self.targets, self.soft):
            if tensor is not None:
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def workers(self, device: torch.device) -> int:
        """The number of processes to compute views with: 0 where the pictures are in memory and the
        network runs on the CPU."""
        if isinstance(self.pixels, Tensor) and device.type == "cpu":
            return 0
        return count_workers(len(self.targets))


class View(NamedTuple):
    """Picture `picture` at `size` pixels (0: its own size), augmented where `seed` is not None."""

    picture: int
    size: int = 0
    seed: int | None = None


def plain_views(count: int, size: int = 0) -> Iterator[list[View]]:
    """Views of pictures 0 to `count` − 1 without augmentation, in batches."""
    for start in range(0, count, BATCH):
        yield [View(index, size) for index in range(start, min(start + BATCH, count))]


def view_batches(
    examples: Examples,
    views: Iterable[list[View]],
    preprocess: Preprocess,
    config: TrainConfig,
    workers: int,
) -> Iterator[Tensor]:
    """The pictures of each batch of `views`, uint8 (B, 3, size, size), computed ahead of time by
    `workers` processes, or in this one where that is 0; they do not depend on their number.

    Raises ImageError for a file that can no longer be read.
    """
    loader: DataLoader[npt.NDArray[np.uint8] | ImageError] = DataLoader(
        _Views(examples.pixels, preprocess, config),
        batch_sampler=views,
        num_workers=workers,
        collate_fn=_stack,
    )
    for batch in loader:
        if isinstance(batch, ImageError):
            raise batch
        yield torch.from_numpy(batch)


@dataclass(frozen=True, slots=True, eq=False)
class _Views(torch.utils.data.Dataset["npt.NDArray[np.uint8] | ImageError"]):
    """Maps a `View` to its pixels. An ImageError is returned: raised in a worker it would carry a
    traceback in its message. Arrays, since tensors would need shared memory."""

    pixels: Tensor | Crops
    preprocess: Preprocess
    config: TrainConfig

    def __getitem__(self, view: View) -> npt.NDArray[np.uint8] | ImageError:
        try:
            picture = self.pixels[view.picture]
        except ImageError as error:
            return ImageError(str(error))
        if view.seed is None:
            return resized(picture, view.size or picture.shape[-1]).numpy()
        return augment(picture, view.size, self.preprocess, self.config, view.seed).numpy()


def _stack(
    views: Sequence[npt.NDArray[np.uint8] | ImageError],
) -> npt.NDArray[np.uint8] | ImageError:
    for view in views:
        if isinstance(view, ImageError):
            return view
    return np.stack([np.asarray(view) for view in views])


def augment(
    picture: Tensor, size: int, preprocess: Preprocess, config: TrainConfig, seed: int
) -> Tensor:
    """A random crop, flip and zoom-out: uint8 (3, S, S) → (3, size, size). The result depends on
    the arguments only, and PyTorch's random state is left unchanged."""
    background = tuple(round(255 * value) for value in preprocess.mean)
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)  # torchvision draws from it
    try:
        view: Tensor = _transform(size, config.min_scale, config.zoom_out, background)(picture)
    finally:
        torch.set_rng_state(before)
    return view


@lru_cache(8)
def _transform(
    size: int, min_scale: float, zoom_out: float, background: tuple[int, ...]
) -> v2.Compose:
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, (min_scale, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomZoomOut(fill=list(background), side_range=(1.0, 2.0), p=zoom_out),
            v2.Resize((size, size), antialias=True),
        ]
    )


def resized(picture: Tensor, size: int) -> Tensor:
    """The picture resized: uint8 (3, S, S) → (3, size, size)."""
    if picture.shape[-1] == size:
        return picture
    return v2.functional.resize(picture, [size, size], antialias=True)

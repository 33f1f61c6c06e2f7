"""Batches for the trained part of a network: pictures, or features before its lowest stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torchvision.transforms import v2

from vggviz.files import atomic_write
from vggviz.hooks.capture import evaluating
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.training.config import TrainConfig, TrainError
from vggviz.training.examples import BATCH, Examples, View, plain_views, view_batches

__all__ = ["Inputs", "normalise"]

IN_MEMORY, ON_DISK = 1 << 30, 16 << 30  # bytes of features that are computed once


@dataclass(eq=False)
class Inputs:
    """Batches of augmented pictures; or, with `stage`, before which nothing is trained, of their
    features before that stage.

    Features are computed once for each of `config.views` where they take at most 16 GiB as
    memory-mapped files in `cache`, or 1 GiB in memory where that is None; else for every
    batch again. `workers` processes read and augment pictures.
    """

    model: Network
    stage: str | None
    examples: Examples
    validation: Examples
    preprocess: Preprocess
    config: TrainConfig
    accelerator: Accelerator
    cache: Path | None
    workers: int

    def __post_init__(self) -> None:
        self._stored: dict[str, Tensor] = {}
        self._views, self._name, config = 0, "", self.config
        if self.stage is not None and config.views and len(set(config.image_sizes)) == 1:
            pictures = len(self.examples.targets) * config.views + len(self.validation.targets)
            limit = IN_MEMORY if self.cache is None else ON_DISK
            if pictures * self._bytes(config.image_sizes[0]) <= limit:
                self._views, self._name = config.views, self._identity()
        self._order = lru_cache(2)(self._permutation)  # workers may be an epoch ahead

    def batches(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For each step in [first, last): the indices of this process's examples, and the input for
        them on the device, images (B, 3, S, S) or features (B, C, h, w).

        The modules of the model before `stage` must be in evaluation mode.
        """
        steps = range(first, last)
        device = self.accelerator.device
        if self._views:
            for step in steps:
                features = self._features_of_view(self._epoch(step) % self._views)
                indices = self._indices(step)
                batch = features[indices].to(device, memory_format=torch.channels_last)
                yield indices, batch.float() if batch.dtype == torch.float16 else batch
            return
        pixels = self._view_batches(self.examples, map(self._views_of, steps))
        for step, batch in zip(steps, pixels, strict=False):
            yield self._indices(step), self._inputs(batch)

    @property
    def _is_compact(self) -> bool:
        """Whether stored features have half precision: full-size networks get their adapters on
        laptops."""
        return self.config.unlabelled is not None

    def validation_features(self, size: int) -> Tensor | None:
        """The features (n, C, h, w) of all validation pictures; None where none are stored."""
        if not self._views:
            return None
        views = plain_views(len(self.validation.targets), size)
        return self._features("validation", self.validation, views)

    def _epoch(self, step: int) -> int:
        return step // (len(self.examples.targets) // self.config.batch)

    def _indices(self, step: int) -> Tensor:
        """The indices of this process's share of the examples of a step."""
        batch, epoch = self.config.batch, self._epoch(step)
        start = batch * (step - epoch * (len(self.examples.targets) // batch))
        accelerator = self.accelerator
        share = slice(accelerator.process_index, None, accelerator.num_processes)
        return self._order(epoch)[start : start + batch][share]

    def _permutation(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.config.seed_for(epoch, salt=1))
        return torch.randperm(len(self.examples.targets), generator=generator)

    def _views_of(self, step: int) -> list[View]:
        epoch = self._epoch(step)
        size = self.config.size_at(epoch)
        return [self._view(index, size, epoch, 2) for index in self._indices(step).tolist()]

    def _view(self, index: int, size: int, number: int, salt: int) -> View:
        """View `number` of a picture, with a distinct seed."""
        count = len(self.examples.targets)
        return View(index, size, self.config.seed_for(number * count + index, salt))

    def _view_batches(self, examples: Examples, views: Iterable[list[View]]) -> Iterator[Tensor]:
        return view_batches(examples, views, self.preprocess, self.config, self.workers)

    def _inputs(self, pixels: Tensor) -> Tensor:
        """Normalised images, or their features before `stage`."""
        images = normalise(pixels, self.preprocess, self.accelerator.device)
        if self.stage is None:
            return images
        with torch.no_grad(), self.accelerator.autocast():
            features = self.model.features_before(images, self.stage)
        compact = self._views and self._is_compact
        return features.half() if compact and features.dtype == torch.float32 else features

    def _features_of_view(self, number: int) -> Tensor:
        count, size = len(self.examples.targets), self.config.image_sizes[0]
        views = (
            [
                self._view(index, size, number, 500)
                for index in range(start, min(start + BATCH, count))
            ]
            for start in range(0, count, BATCH)
        )
        return self._features(str(number), self.examples, views)

    def _features(self, name: str, examples: Examples, views: Iterable[list[View]]) -> Tensor:
        """The features before `stage` of all examples, (n, C, h, w), on the CPU."""
        if name not in self._stored:
            count = len(examples.targets)
            batches = map(self._inputs, self._view_batches(examples, views))
            self._stored[name] = (
                _in_memory(batches, count)
                if self.cache is None
                else _on_disk(self.cache / f"{self._name}-{name}.npy", batches, count)
            )
        return self._stored[name]

    def _bytes(self, size: int) -> int:
        """The size in bytes of one picture's features before `stage`, in float32."""
        assert self.stage is not None
        device = self.accelerator.device
        with torch.no_grad(), evaluating(self.model):
            features = self.model.features_before(
                torch.zeros(1, 3, size, size, device=device), self.stage
            )
        return 4 * features.numel()

    def _identity(self) -> str:
        """A hash of all that the features before `stage` depend on, 16 hexadecimal digits."""
        assert self.stage is not None
        config = self.config
        digest = hashlib.sha256()
        modules = self.model.modules_before(self.stage)
        for module in modules:
            for value in module.state_dict().values():
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        recipe = config.image_sizes, config.min_scale, config.zoom_out, config.seed
        pictures = self.examples.digest(), self.validation.digest()
        kinds = [type(module).__name__ for module in modules]  # also of those without weights
        facts = [self.stage, recipe, asdict(self.preprocess), pictures, kinds]
        if self._is_compact:  # a labelled run may share the cache
            facts.append("half precision")
        digest.update(json.dumps(facts).encode())
        return digest.hexdigest()[:16]


def normalise(pixels: Tensor, preprocess: Preprocess, device: torch.device) -> Tensor:
    """uint8 (B, 3, H, W) → normalised float32, channels last, on `device`."""
    scaled = v2.functional.to_dtype(pixels.to(device), torch.float32, scale=True)
    images = v2.functional.normalize(scaled, list(preprocess.mean), list(preprocess.std))
    return images.to(memory_format=torch.channels_last)


def _in_memory(batches: Iterable[Tensor], count: int) -> Tensor:
    """Concatenate batches (B, C, h, w) to one tensor (count, C, h, w), channels last."""
    features: Tensor | None = None
    start = 0
    for batch in batches:
        if features is None:
            shape = (count, *batch.shape[1:])
            features = torch.empty(shape, dtype=batch.dtype, memory_format=torch.channels_last)
        features[start : start + len(batch)] = batch.cpu()
        start += len(batch)
    assert features is not None
    return features


def _on_disk(file: Path, batches: Iterable[Tensor], count: int) -> Tensor:
    """Concatenate batches as a memory-mapped tensor (count, C, h, w), stored in `file` as an NPY
    array (count, h, w, C), which is written first where it does not exist. bfloat16, which NumPy
    lacks, is stored as int16.

    Raises TrainError where the file can't be written.
    """
    with suppress(OSError, ValueError):
        return _mapped(file, count)
    try:
        _write(file, batches, count)
        return _mapped(file, count)
    except OSError as error:
        raise TrainError(
            f"the folder {file.parent} can't keep computed views ({error.strerror}): give another "
            "one (--cache), or compute none (--views 0)"
        ) from error


def _write(file: Path, batches: Iterable[Tensor], count: int) -> None:
    """Write an NPY file sequentially: a full disk under a writable memory map kills the process."""
    with atomic_write(file) as part, part.open("wb") as opened:
        for number, batch in enumerate(batches):
            rows = batch.cpu().permute(0, 2, 3, 1).contiguous()
            array = (rows.view(torch.int16) if rows.dtype == torch.bfloat16 else rows).numpy()
            if number == 0:
                header = {"shape": (count, *array.shape[1:]), "fortran_order": False}
                descr = np.lib.format.dtype_to_descr(array.dtype)
                np.lib.format.write_array_header_1_0(opened, {**header, "descr": descr})
            opened.write(array.data)


def _mapped(file: Path, count: int) -> Tensor:
    """Map a file of `_write`. Raises OSError or ValueError where it is missing or differs."""
    array = np.load(file, mmap_mode="c", allow_pickle=False)
    if array.ndim != 4 or len(array) != count:
        raise ValueError(f"{file} holds other features")
    rows = torch.from_numpy(array)
    return (rows.view(torch.bfloat16) if rows.dtype == torch.int16 else rows).permute(0, 3, 1, 2)

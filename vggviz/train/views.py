"""Augmented views of pictures, and the features that arrive at the lowest place that learns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.transforms import v2

from vggviz.images import Preprocess
from vggviz.memory import physical
from vggviz.train.config import Examples, TrainConfig, TrainError
from vggviz.vgg import VGG
from vggviz.zoo import write_safetensors

__all__ = ["Inputs", "augment", "normalise", "resized"]


class Inputs:
    """What the learning part of a network gets: pictures, or the features that arrive at `site`,
    below which nothing learns. These are computed once for each view where they fit in memory,
    and are kept in the folder `cache`, if there is one."""

    def __init__(
        self,
        model: VGG,
        site: str | None,
        examples: Examples,
        validation: Examples,
        preprocess: Preprocess,
        config: TrainConfig,
        accelerator: Accelerator,
        cache: Path | None,
    ) -> None:
        self._model, self._site, self._config = model, site, config
        self._examples, self._validation, self._preprocess = examples, validation, preprocess
        self._accelerator, self._cache = accelerator, cache
        self._made: dict[str, Tensor] = {}
        self._views, self._name = 0, ""
        if site is not None and len(set(config.sizes)) == 1:
            pictures = len(examples.targets) * config.views + len(validation.targets)
            if _fits_in_memory(model, site, pictures, config.sizes[0]):
                self._views = config.views
                self._name = _identity(model, site, (examples, validation), preprocess, config)

    def batch(self, chosen: Tensor, epoch: int, step: int, size: int) -> Tensor:
        """The input for the pictures `chosen`, each augmented, at `size` pixels, on the device."""
        config, device = self._config, self._accelerator.device
        if self._views:
            number = epoch % self._views
            view = (config, config.seed_for(number, salt=500))
            made = self._features(str(number), self._examples, size, view)
            return made[chosen].to(device, memory_format=torch.channels_last)
        seed = config.seed_for(step, salt=2 + self._accelerator.process_index)
        pixels = augment(self._examples.pixels[chosen], size, self._preprocess, config, seed)
        images = normalise(pixels, self._preprocess, device)
        if self._site is None:
            return images
        with torch.no_grad(), self._accelerator.autocast():
            return self._model.arriving(images, self._site)

    def judged(self, size: int) -> Tensor | None:
        """The features of all validation pictures; None where pictures are looked at instead."""
        return self._features("validation", self._validation, size) if self._views else None

    def _features(
        self, name: str, examples: Examples, size: int, view: tuple[TrainConfig, int] | None = None
    ) -> Tensor:
        assert self._site is not None
        if name not in self._made:
            make = partial(
                _features,
                self._model,
                self._site,
                examples,
                size,
                self._preprocess,
                self._accelerator,
                view,
            )
            file = self._cache and self._cache / f"{self._name}-{name}.safetensors"
            self._made[name] = make() if file is None else _kept(file, make)
        return self._made[name]


def augment(
    pixels: Tensor, size: int, preprocess: Preprocess, config: TrainConfig, seed: int
) -> Tensor:
    """A random view of every picture: uint8 (B, 3, S, S) → (B, 3, size, size)."""
    ground = [round(255 * value) for value in preprocess.mean]
    view = v2.Compose(
        [
            v2.RandomResizedCrop(size, (config.min_scale, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomZoomOut(fill=ground, side_range=(1.0, 2.0), p=config.zoom_out),
            v2.Resize((size, size), antialias=True),
        ]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.stack([view(picture) for picture in pixels])


def resized(pixels: Tensor, size: int) -> Tensor:
    """The pictures at `size` pixels, not augmented: uint8 (B, 3, S, S) → (B, 3, size, size)."""
    if pixels.shape[-1] == size:
        return pixels
    return v2.functional.resize(pixels, [size, size], antialias=True)


def normalise(pixels: Tensor, preprocess: Preprocess, device: torch.device) -> Tensor:
    """uint8 (B, 3, H, W) → normalised float32, channels last, on `device`."""
    scaled = v2.functional.to_dtype(pixels.to(device), torch.float32, scale=True)
    images = v2.functional.normalize(scaled, list(preprocess.mean), list(preprocess.std))
    return images.to(memory_format=torch.channels_last)


@torch.no_grad()
def _features(
    model: VGG,
    site: str,
    examples: Examples,
    size: int,
    preprocess: Preprocess,
    accelerator: Accelerator,
    view: tuple[TrainConfig, int] | None = None,
) -> Tensor:
    """What arrives at `site` of all pictures (n, C, h, w), on the CPU: plain, or of one `view`, a
    configuration and a seed. `model` must be in evaluation mode below `site`."""
    found: Tensor | None = None
    for start in range(0, len(examples.targets), 128):
        pixels = examples.pixels[start : start + 128]
        if view is None:
            pixels = resized(pixels, size)
        else:
            pixels = augment(pixels, size, preprocess, view[0], view[1] + start)
        with accelerator.autocast():
            arriving = model.arriving(normalise(pixels, preprocess, accelerator.device), site)
        if found is None:
            shape = (len(examples.targets), *arriving.shape[1:])
            found = torch.empty(
                shape, dtype=arriving.dtype, memory_format=torch.channels_last
            )  # filled below
        found[start : start + len(pixels)] = arriving.cpu()
    assert found is not None
    return found


def _fits_in_memory(model: VGG, site: str, pictures: int, size: int) -> bool:
    """Whether the features at `site` of so many pictures take at most half of the memory."""
    with torch.device("meta"):
        shape = VGG(model.config).arriving(torch.empty(1, 3, size, size), site).shape
    return pictures * shape.numel() * 4 <= physical() / 2


def _identity(
    model: VGG,
    site: str,
    parts: Sequence[Examples],
    preprocess: Preprocess,
    config: TrainConfig,
) -> str:
    """A name for the features at `site`: it differs where anything that makes them does."""
    digest = hashlib.sha256()
    for module in model.below(site):
        for value in module.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    for part in parts:
        digest.update(part.pixels.numpy().data)
    recipe = config.sizes, config.min_scale, config.zoom_out, config.seed
    digest.update(json.dumps([site, recipe, asdict(preprocess)]).encode())
    return digest.hexdigest()[:16]


def _kept(file: Path, make: Callable[[], Tensor]) -> Tensor:
    """The tensor in `file`, made and written there first where there is no whole one. Raises
    TrainError where it can't be written."""
    try:
        return load_file(file)["features"].to(memory_format=torch.channels_last)
    except (OSError, SafetensorError, KeyError):
        found = make()
    try:
        write_safetensors({"features": found.contiguous()}, {}, file)
    except OSError as error:
        raise TrainError(
            f"the cache {file.parent} can't keep computed views ({error.strerror}): give another "
            "folder, or none"
        ) from error
    return found

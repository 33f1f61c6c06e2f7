"""ImageNet weights, torchvision's and 'lite', and the untrained network 'random'."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights import lite
from vggviz.weights.card import STOCK, Card, WeightsError
from vggviz.weights.hub import FILE, PREFIX, fetch
from vggviz.weights.tensors import fingerprint

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = [
    "STOCK",
    "load_backbone",
    "load_stock",
    "stock_config",
    "stock_file",
    "stock_state",
    "torchvision_preprocess",
]

# timm publishes a VGG's classifier as convolutions: weights (4096, C, 7, 7) and (4096, 4096, 1, 1).
TIMM_NAMES = {
    "pre_logits.fc1": "classifier.0",
    "pre_logits.fc2": "classifier.3",
    "head.fc": "classifier.6",
}


def _weights(name: str) -> WeightsEnum:
    """torchvision's description of ImageNet weights `name`. Importing it takes a second."""
    models = import_module("torchvision.models")
    weights: WeightsEnum = models.get_model_weights(STOCK[name]).IMAGENET1K_V1
    return weights


def torchvision_preprocess(weights: WeightsEnum) -> Preprocess:
    """How pictures go into the network of torchvision's weights."""
    transform = weights.transforms()
    (size,), (resize,) = transform.crop_size, transform.resize_size
    mode = transform.interpolation.value
    return Preprocess(
        size=size,
        resize=max(size, resize),
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=mode if mode in ("bilinear", "bicubic") else "bicubic",
    )


def _repository(name: str) -> str:
    return f"timm/{STOCK[name]}.tv_in1k"


def _places(name: str) -> tuple[Path, Path]:
    """Where timm's safetensors file and torchvision's file of weights `name` are kept."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return folder / _repository(name) / FILE, folder / Path(urlparse(_weights(name).url).path).name


def stock_file(name: str) -> Path:
    """The local copy of ImageNet weights `name`; where there is none, a path that does not exist
    and at which torchvision would put it, or for 'lite' a copy by hand is looked for."""
    if name == "lite":
        return lite.weights_file()
    safe, pickled = _places(name)
    return safe if safe.is_file() else pickled


def stock_config(name: str, attention: str) -> NetworkConfig:
    """The network of ImageNet weights or 'random' with this attention at all stages."""
    return NetworkConfig(
        attention=attention,
        blend="replace" if name == "random" else "residual",
        architecture=STOCK.get(name, "vgg19"),
    )


def load_stock(
    name: str, attention: str, generator: torch.Generator | None, changes: dict[str, Any]
) -> tuple[Network, Card]:
    """The network on ImageNet weights or 'random', with fresh attention, and its card.

    `changes` are made to its `NetworkConfig`. Raises WeightsError where the weights are missing
    or do not fit, ValueError for an unknown change.
    """
    config = replace(stock_config(name, attention), **changes)
    enum = _weights("imagenet" if name in ("lite", "random") else name)
    labels = tuple(enum.meta["categories"])
    preprocess = torchvision_preprocess(enum)
    facts = {"licence": "BSD-3-Clause", "source": "torchvision"} if name in STOCK else {}
    if name == "lite":
        preprocess, facts = lite.PREPROCESS, lite.FACTS
    if config.num_classes != len(labels):
        labels = tuple(f"class {k}" for k in range(config.num_classes))
    card = Card(
        weights=name,
        config=config,
        preprocess=preprocess,
        labels=labels,
        trained="nothing" if name == "random" else "all" if attention == "none" else "backbone",
        facts=facts,
    )
    state, digest = stock_state(name) if name in STOCK else ({}, "")
    model = build_network(config, generator or torch.Generator().manual_seed(0))
    if name in STOCK:
        load_backbone(model, state, name)
    return model, replace(card, fingerprint=digest)


def stock_state(name: str, expected: str = "") -> tuple[dict[str, Tensor], str]:
    """The state dict of ImageNet weights `name`, under torchvision's names, and the SHA-256 of its
    file: a local copy, that with the `expected` SHA-256 where there are two, or else timm's
    safetensors file from the Hub, or else torchvision's, which holds the same values.

    Raises WeightsError where there is no copy and none can be downloaded, or it is damaged.
    """
    if name == "lite":
        return lite.read_state(), fingerprint(lite.weights_file())
    safe, pickled = _places(name)
    copies = [file for file in (safe, pickled) if file.is_file()]
    if len(copies) > 1 and expected:
        copies.sort(key=lambda file: fingerprint(file) != expected)
    # torchvision's file names end with the first digits of their SHA-256.
    if not copies and not (expected and pickled.stem.endswith(f"-{expected[:8]}")):
        with suppress(WeightsError):
            copies = [fetch(f"{PREFIX}{_repository(name)}", safe.parent)]
    file = copies[0] if copies else pickled
    try:
        if file == pickled:  # downloaded where it is missing
            enum = _weights(name)
            state = dict(enum.get_state_dict(progress=False, check_hash=True, weights_only=True))
        else:
            state = load_file(file)
        return _torchvision_names(state), fingerprint(file)
    except OSError as error:
        reason = getattr(error, "reason", error.strerror) or error
        raise WeightsError(
            "not_downloaded",
            name=name,
            file=pickled.name,
            size=f"{_weights(name).meta['_file_size']:.0f}",
            why=reason,
            place=pickled,
            hub_file=FILE,
            repo=_repository(name),
            hub_place=safe,
        ) from error
    except (
        SafetensorError, RuntimeError, UnpicklingError, EOFError, KeyError, ValueError,
    ) as error:  # fmt: skip
        raise WeightsError("damaged_copy", file=file, name=file.name) from error


def _torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of timm or torchvision under the names and shapes of today's torchvision.

    Files that are older than PyTorch 0.4.1 lack the `num_batches_tracked` of batch norms.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if layer in TIMM_NAMES:
            layer, value = TIMM_NAMES[layer], value.flatten(1) if value.ndim > 1 else value
        renamed[f"{layer}.{kind}"] = value
        if kind == "running_var":
            renamed.setdefault(f"{layer}.num_batches_tracked", torch.tensor(0))
    return renamed


def load_backbone(model: Network, state: Mapping[str, Tensor], name: str) -> None:
    """Load a torchvision state dict into all of `model` but its attention, strictly.

    Raises WeightsError, naming `name`, where a key is missing, unexpected or of another shape.
    """
    own = {key: value for key, value in model.state_dict().items() if key in state}
    missing = [
        key for key in model.state_dict() if key not in own and not key.startswith("attention.")
    ]
    extra = [key for key in state if key not in own]
    wrong = [key for key, value in own.items() if value.shape != state[key].shape]
    if missing or extra or wrong:
        odd = (missing + extra + wrong)[0]
        raise WeightsError("unlike_network", name=name, tensor=odd)
    model.load_state_dict(dict(state), strict=False)

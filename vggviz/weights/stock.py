"""Weights that others publish, or nobody trained: torchvision's ImageNet files, and 'random'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch
from torch import Tensor

from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights.card import Card, WeightsError
from vggviz.weights.tensors import fingerprint

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["STOCK", "load_backbone", "load_stock", "stock_config", "stock_file", "stock_state"]

# torchvision's names of them. It is imported when one is asked for, which takes a second.
STOCK = {"imagenet": "VGG19_Weights", "imagenet_bn": "VGG19_BN_Weights"}


def _weights(name: str) -> WeightsEnum:
    """What torchvision knows of ImageNet weights `name`."""
    found: WeightsEnum = getattr(import_module("torchvision.models"), STOCK[name]).IMAGENET1K_V1
    return found


def stock_file(name: str) -> Path:
    """Where torchvision keeps the file of ImageNet weights `name`."""
    filename = Path(urlparse(_weights(name).url).path).name
    return Path(torch.hub.get_dir()) / "checkpoints" / filename


def stock_config(name: str, attention: str) -> NetworkConfig:
    """The network of 'imagenet', 'imagenet_bn' or 'random' with this attention at all stages."""
    return NetworkConfig(
        attention=attention,
        blend="replace" if name == "random" else "residual",
        batch_norm=name == "imagenet_bn",
    )


def load_stock(
    name: str, attention: str, generator: torch.Generator | None, changes: dict[str, Any]
) -> tuple[Network, Card]:
    """The network 'random' or one on ImageNet weights, its attention fresh, and its card.

    Raises WeightsError where the weights cannot be had or do not fit, ValueError for a change
    that does not exist.
    """
    config = replace(stock_config(name, attention), **changes)
    enum = _weights(name if name in STOCK else "imagenet")
    transform = enum.transforms()
    labels = tuple(enum.meta["categories"])
    if config.num_classes != len(labels):
        labels = tuple(f"class {k}" for k in range(config.num_classes))
    card = Card(
        weights=name,
        config=config,
        preprocess=Preprocess(
            size=transform.crop_size[0],
            resize=transform.resize_size[0],
            mean=tuple(transform.mean),
            std=tuple(transform.std),
        ),
        labels=labels,
        trained="nothing" if name == "random" else "all" if attention == "none" else "backbone",
        facts={"licence": "BSD-3-Clause", "source": "torchvision"} if name in STOCK else {},
    )
    state, known = stock_state(name) if name in STOCK else ({}, "")
    model = build_network(config, generator or torch.Generator().manual_seed(0))
    if name in STOCK:
        load_backbone(model, state, name)
    return model, replace(card, fingerprint=known)


def stock_state(name: str) -> tuple[dict[str, Tensor], str]:
    """torchvision's tensors of ImageNet weights `name`, downloaded once, and the file's SHA-256.

    Raises WeightsError where they cannot be downloaded or the copy is broken.
    """
    file = stock_file(name)
    try:
        state = _weights(name).get_state_dict(progress=False, check_hash=True, weights_only=True)
        return dict(state), fingerprint(file)
    except OSError as error:
        raise WeightsError(
            f"the {name} weights (torchvision's {file.name}, 548 MB) are not on this machine and "
            f"could not be downloaded ({getattr(error, 'reason', error.strerror) or error}); put a "
            f"copy at {file}, or use weights 'tiny50', which needs no network"
        ) from error
    except (RuntimeError, UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise WeightsError(f"{file} is not a whole copy of {file.name}: remove it") from error


def load_backbone(model: Network, state: Mapping[str, Tensor], name: str) -> None:
    """Fill all of `model` but its attention from a torchvision state, strictly.

    Raises WeightsError, naming `name`, where a key is missing, left over or of another shape.
    """
    own = {key: value for key, value in model.state_dict().items() if key in state}
    missing = [
        key for key in model.state_dict() if key not in own and not key.startswith("attention.")
    ]
    extra = [key for key in state if key not in own]
    wrong = [key for key, value in own.items() if value.shape != state[key].shape]
    if missing or extra or wrong:
        raise WeightsError(f"{name} does not fit the network: see {(missing + extra + wrong)[0]}")
    model.load_state_dict(dict(state), strict=False)

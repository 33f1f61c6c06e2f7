"""The catalogue of weights: bundled, torchvision's, untrained, or a file; safetensors only."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import VGG19_BN_Weights, VGG19_Weights, WeightsEnum

from vggviz.attention import ATTENTION
from vggviz.images import Preprocess
from vggviz.vgg import VGG, VGGConfig

__all__ = ["WEIGHTS", "Card", "Listed", "WeightsError", "assets", "catalogue", "load", "save"]

WEIGHTS = {
    "tiny50": "VGG19-BN at half width, 50 everyday classes of Tiny ImageNet; bundled",
    "imagenet": "torchvision's VGG19, 1,000 ImageNet classes; 548 MB, downloaded once",
    "imagenet_bn": "torchvision's VGG19 with batch norm, 1,000 ImageNet classes; 548 MB",
    "random": "VGG19 at full size, untrained",
}
STOCK: dict[str, WeightsEnum] = {
    "imagenet": VGG19_Weights.IMAGENET1K_V1,
    "imagenet_bn": VGG19_BN_Weights.IMAGENET1K_V1,
}


class WeightsError(ValueError):
    """Weights that cannot be had; the message is one sentence for people."""


@dataclass(frozen=True, slots=True)
class Card:
    """What belongs to weights: the network they fit, how pictures go in, what classes come out.

    `trained` is what has learned: 'all', 'backbone' (attention is fresh, and where it is blended
    in, its γ is 0) or 'nothing'. `facts` is the model card: data, recipe, accuracy, licence.
    `fingerprint` is the SHA-256 of the file, '' where there is none.
    """

    weights: str
    config: VGGConfig
    preprocess: Preprocess
    labels: tuple[str, ...]
    wnids: tuple[str, ...] = ()
    trained: str = "all"
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fingerprint: str = ""

    def to_json(self) -> dict[str, Any]:
        """The card as JSON types."""
        return {
            "weights": self.weights,
            "config": self.config.to_json(),
            "preprocess": self.preprocess.to_json(),
            "labels": list(self.labels),
            "wnids": list(self.wnids),
            "trained": self.trained,
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], fingerprint: str = "") -> Card:
        """The card that `to_json` wrote. Raises ValueError, KeyError or TypeError if it lies."""
        card = cls(
            weights=str(data["weights"]),
            config=VGGConfig.from_json(data["config"]),
            preprocess=Preprocess.from_json(data["preprocess"]),
            labels=tuple(str(label) for label in data["labels"]),
            wnids=tuple(str(wnid) for wnid in data["wnids"]),
            trained=str(data["trained"]),
            facts=dict(data["facts"]),
            fingerprint=fingerprint,
        )
        if len(card.labels) != card.config.num_classes:
            raise ValueError(f"{len(card.labels)} labels for {card.config.num_classes} classes")
        return card


def assets() -> Path:
    """The folder of bundled weights and examples: in the package, or beside it in a checkout."""
    package = Path(__file__).parent
    return package / "assets" if (package / "assets").is_dir() else package.parent / "assets"


def load(
    weights: str | Path = "tiny50",
    attention: str = "none",
    *,
    generator: torch.Generator | None = None,
    **changes: Any,
) -> tuple[VGG, Card]:
    """The network with these weights, in eval mode and frozen, and its card.

    `weights` is a key of `WEIGHTS` or a .safetensors file; `attention` 'none' or a key of
    `ATTENTION` (a file brings its own). `changes` to `VGGConfig` (sites, blend, placement) are
    for 'random' and the ImageNet weights: their attention is drawn from `generator`; on ImageNet
    weights it is blended in with γ = 0, on random ones it replaces the features.

    Raises WeightsError where the weights cannot be had or do not fit, ValueError for an unknown
    attention or change.
    """
    name = str(weights)
    VGGConfig(attention=attention)  # an unknown attention is said before anything is read
    if name in ("random", *STOCK):
        model, card = _stock(name, attention, generator, changes)
    elif changes:
        raise ValueError(f"{', '.join(changes)} can't be changed: {name} was trained as it is")
    elif name == "tiny50":
        file = assets() / "weights" / f"tiny50-{attention}.safetensors"
        if not file.is_file():
            raise WeightsError(
                f"tiny50 has no trained weights for attention {attention!r} yet: "
                f"choose one of {', '.join(bundled())}"
            )
        model, card = _file(file, name)
    elif name.endswith(".safetensors"):
        model, card = _file(Path(name), Path(name).stem)
    else:
        raise WeightsError(
            f"no weights {name!r}: choose one of {', '.join(WEIGHTS)}, or a .safetensors file"
        )
    return model.eval().requires_grad_(False), card


def bundled() -> tuple[str, ...]:
    """The attention types that have bundled weights."""
    folder = assets() / "weights"
    return tuple(
        key for key in ("none", *ATTENTION) if (folder / f"tiny50-{key}.safetensors").is_file()
    )


def save(model: VGG, card: Card, file: str | Path) -> None:
    """Write `model` and `card` to a safetensors file, floats as fp16, whole or not at all."""
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    write_safetensors(state, {"vggviz": json.dumps(card.to_json())}, Path(file))


def write_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str], file: Path) -> None:
    """Write a safetensors file under another name first, so that no one ever sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    os.close(handle)
    part = Path(name)
    try:
        save_file(tensors, part, metadata)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


class Listed(NamedTuple):
    """One line of the catalogue. `local`: whether it can be loaded without a network."""

    weights: str
    attention: str
    parameters: int
    classes: int
    local: bool


def catalogue() -> list[Listed]:
    """All weights × attention types that `load` knows by name."""
    lines: list[Listed] = []
    for name in WEIGHTS:
        for attention in ("none", *ATTENTION):
            if name == "tiny50":
                if attention not in bundled():
                    continue
                config = _read_card(assets() / "weights" / f"tiny50-{attention}.safetensors").config
                local = True
            else:
                config = _stock_config(name, attention)
                local = name not in STOCK or stock_file(name).is_file()
            with torch.device("meta"):
                model = VGG(config)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            lines.append(Listed(name, attention, parameters, config.num_classes, local))
    return lines


def stock_file(name: str) -> Path:
    """Where torchvision keeps the file of ImageNet weights `name`."""
    filename = Path(urlparse(STOCK[name].url).path).name
    return Path(torch.hub.get_dir()) / "checkpoints" / filename


def _stock_config(name: str, attention: str) -> VGGConfig:
    return VGGConfig(
        attention=attention,
        blend="replace" if name == "random" else "residual",
        batch_norm=name == "imagenet_bn",
    )


def _stock(
    name: str, attention: str, generator: torch.Generator | None, changes: dict[str, Any]
) -> tuple[VGG, Card]:
    config = replace(_stock_config(name, attention), **changes)
    enum = STOCK.get(name, VGG19_Weights.IMAGENET1K_V1)
    transform = enum.transforms()
    card = Card(
        weights=name,
        config=config,
        preprocess=Preprocess(
            size=transform.crop_size[0],
            resize=transform.resize_size[0],
            mean=tuple(transform.mean),
            std=tuple(transform.std),
        ),
        labels=tuple(enum.meta["categories"]),
        trained="nothing" if name == "random" else "all" if attention == "none" else "backbone",
        facts={"licence": "BSD-3-Clause", "source": "torchvision"} if name in STOCK else {},
    )
    if config.num_classes != len(card.labels):
        card = replace(card, labels=tuple(f"class {k}" for k in range(config.num_classes)))
    if name == "random":
        return VGG(config, generator or torch.Generator().manual_seed(0)), card
    state = _download(name)
    model = VGG(config, generator or torch.Generator().manual_seed(0))
    load_backbone(model, state, name)
    return model, card


def _download(name: str) -> dict[str, Tensor]:
    file = stock_file(name)
    try:
        state = STOCK[name].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise WeightsError(
            f"the {name} weights (torchvision's {file.name}, 548 MB) are not on this machine and "
            f"could not be downloaded; put a copy at {file}, or use weights 'tiny50', which needs "
            "no network"
        ) from error
    except (RuntimeError, UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise WeightsError(f"{file} is not a whole copy of {file.name}: remove it") from error
    return dict(state)


def load_backbone(model: VGG, state: Mapping[str, Tensor], name: str) -> None:
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


def _file(file: Path, name: str) -> tuple[VGG, Card]:
    card = replace(_read_card(file), weights=name)
    with torch.device("meta"):
        model = VGG(card.config)
    try:
        with safe_open(file, framework="pt") as opened:
            keys = opened.keys()
            shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in keys}
            expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
            if shapes != expected:
                odd = sorted(set(shapes.items()) ^ set(expected.items()))
                raise WeightsError(f"{file.name} does not fit its own description: see {odd[0][0]}")
            state = {key: opened.get_tensor(key) for key in keys}
    except SafetensorError as error:
        raise WeightsError(f"{file.name} is not a whole safetensors file") from error
    state = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    model.load_state_dict(state, strict=True, assign=True)
    return model, card


def _read_card(file: Path) -> Card:
    if not file.is_file():
        raise WeightsError(f"no weights file {file.name}")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file.name} is not a whole safetensors file") from error
    if "vggviz" not in metadata:
        raise WeightsError(f"{file.name} was not written by vggviz: it has no description")
    fingerprint = hashlib.sha256(file.read_bytes()).hexdigest()
    try:
        return Card.from_json(json.loads(metadata["vggviz"]), fingerprint)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"the description in {file.name} can't be read: {error}") from error

"""Load networks with their weights by name, from a file or the Hub, and save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights.adapters import difference, read
from vggviz.weights.bundle import bundled_file, bundled_types
from vggviz.weights.card import BUNDLED, REPLACED, WEIGHTS, Card, WeightsError
from vggviz.weights.hub import PREFIX, fetch
from vggviz.weights.refusal import explain_refusal
from vggviz.weights.stock import STOCK, load_stock
from vggviz.weights.tensors import to_half, write_safetensors

__all__ = ["load_network", "save_network"]


def load_network(
    weights: str | Path = BUNDLED,
    attention: str = "none",
    *,
    generator: torch.Generator | None = None,
    **changes: Any,
) -> tuple[Network, Card]:
    """The network with these weights, in evaluation mode and frozen, and its card.

    `weights` is a key of `WEIGHTS`, a .safetensors file (an adapter takes the rest from its
    backbone), or 'hf:user/repo', 'hf:user/repo@revision' on the Hugging Face Hub; `attention` is
    'none' or a key of `ATTENTION` (a file brings its own). `changes` to `NetworkConfig` (stages,
    blend, placement) are for 'random' and the ImageNet weights: their attention is drawn from
    `generator`; on ImageNet weights it is blended in with γ = 0, on random ones it replaces the
    features.

    Raises WeightsError where the weights cannot be had or do not fit, ValueError for an unknown
    attention or change.
    """
    name = str(weights)
    NetworkConfig(attention=attention)  # raises for an unknown attention before reading
    is_adapter = name in STOCK and not changes and attention in bundled_types(name)
    if name in ("random", *STOCK) and not is_adapter:
        model, card = load_stock(name, attention, generator, changes)
    elif changes:
        raise ValueError(f"{', '.join(changes)} can't be changed: {name} was trained as it is")
    elif name == BUNDLED or is_adapter:
        file = bundled_file(attention, name)
        model, card = _file(file, name, file.parent)
    elif name.startswith(PREFIX):
        model, card = _hub(name)
    elif name.endswith(".safetensors"):
        model, card = _file(Path(name), Path(name).stem, Path(name).parent)
    else:
        if Path(name).exists():
            raise explain_refusal(Path(name))
        if name in REPLACED:
            raise WeightsError("replaced_weights", name=name, by=REPLACED[name])
        raise WeightsError("no_weights", name=name, known=", ".join(WEIGHTS), prefix=PREFIX)
    return model.eval().requires_grad_(False), card


def save_network(model: Network, card: Card, file: str | Path) -> None:
    """Write `model` and `card` to a safetensors file atomically, floats in half precision.

    Where the card has a backbone, only what differs from it is written: an adapter. Raises
    WeightsError where the backbone is missing, another copy, or an adapter itself; OSError where
    the file cannot be written.
    """
    file = Path(file)
    state = {key: to_half(value) for key, value in model.state_dict().items()}
    if card.backbone is not None:
        state = difference(state, card.backbone, file)
    write_safetensors(state, {"vggviz": json.dumps(card.to_json())}, file)


def _file(file: Path, name: str, folder: Path | None) -> tuple[Network, Card]:
    state, card = read(file, name, folder)
    model = build_network(card.config, empty=True)
    model.load_state_dict(state, strict=True, assign=True)
    return model, card


def _hub(name: str) -> tuple[Network, Card]:
    file = fetch(name)
    try:
        return _file(file, name, None)
    except WeightsError as error:
        raise WeightsError("hub_copy", name=name, error=error, file=file) from error

"""Weights from the files that people have: nothing is run, and nothing half loaded."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint

from vggviz.networks.named import NetworkError, nearest

__all__ = ["class_count", "load_weights", "read_checkpoint"]

WRAPPERS = ("state_dict", "model", "net", "model_state_dict", "ema")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors file, or in one that `torch.save` wrote (.pth, .pt,
    .pth.tar, .ckpt), on the CPU; where it is wrapped in a dictionary, as it stands there under
    `state_dict`, `model`, `net`, `model_state_dict` or `ema`.

    Nothing in the file is run. Raises NetworkError for a file that is missing, damaged, or holds
    no state dict; and for Python objects, as a whole pickled network, with the line that saves its
    weights instead.
    """
    if not file.is_file():
        raise NetworkError(f"there is no file {str(file)!r}")
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NetworkError(_refusal(file)) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise NetworkError(f"{file.name} is no readable checkpoint: it may be damaged") from error
    return _unwrapped(content, file.name)


def load_weights(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load all weights of `network`. Prefixes that training adds (`module.`, `_orig_mod.`,
    `model.`, `backbone.`) are taken off where the names fit better without.

    Raises NetworkError, and changes nothing, where names or shapes differ: it names the first few,
    and the nearest matches.
    """
    own = network.state_dict()
    state = _stripped(state, own)
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {tuple(state[name].shape)} and should be {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    faults = []
    if missing:
        faults.append(f"{_listed(missing)} missing{nearest(missing[0], unexpected)}")
    if unexpected:
        faults.append(f"{_listed(unexpected)} unknown{nearest(unexpected[0], own)}")
    if shapes:
        faults.append(_listed(shapes))
    if faults:
        raise NetworkError(f"the weights are another network's: {'; '.join(faults)}")
    network.load_state_dict(dict(state))


def class_count(state: Mapping[str, Tensor], network: nn.Module | None = None) -> int:
    """How many classes a network with these weights tells apart: the rows of its last layer.

    Which layer is the last, the order in `state` tells; or `network`, which has the same layers
    and perhaps another number of classes: safetensors files are in alphabetical order.

    Raises NetworkError where no layer is found.
    """
    if network is not None:
        own = network.state_dict()
        state = _stripped(state, own)
        state = {name: state[name] for name in own if name in state} or state
    layers = [x for name, x in state.items() if name.endswith("weight") and x.ndim in (2, 4)]
    if not layers:
        raise NetworkError("the weights hold no layer that could tell the number of classes")
    return len(layers[-1])


def _unwrapped(content: Any, name: str) -> dict[str, Tensor]:
    """The innermost dictionary of tensors."""
    while isinstance(content, Mapping):
        state = {str(key): x for key, x in content.items() if isinstance(x, Tensor)}
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping) or not state:
        raise NetworkError(
            f"{name} holds no state dict: neither by itself nor under {', '.join(WRAPPERS)}"
        )
    return state


def _refusal(file: Path) -> str:
    """Why a file with Python objects is not opened, and what to do."""
    try:
        names = get_unsafe_globals_in_checkpoint(file)
    except Exception:  # it can't even be looked through
        names = []
    if not names:
        return f"{file.name} is no readable checkpoint: it may be damaged"
    whole = any(name.startswith("torch.nn.") for name in names)
    what = "a whole pickled network" if whole else f"Python objects ({_listed(names)})"
    state = "torch.load(OLD, weights_only=False)" + (".state_dict()" if whole else '["state_dict"]')
    return (
        f"{file.name} holds {what}, and opening it would run code: where you trust it, save its "
        f"weights by torch.save({state.replace('OLD', repr(file.name))}, 'weights.pth')"
    )


def _stripped(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The names without those prefixes, in that order, that leave most of the network's own."""
    best, most = state, sum(name in own for name in state)
    for count in range(1, len(PREFIXES) + 1):
        for order in permutations(PREFIXES, count):
            names = {name: _without(name, order) for name in state}
            fitting = sum(name in own for name in set(names.values()))
            if fitting > most and len(set(names.values())) == len(names):
                best, most = {names[name]: x for name, x in state.items()}, fitting
    return best


def _without(name: str, prefixes: Iterable[str]) -> str:
    for prefix in prefixes:
        name = name.removeprefix(prefix)
    return name


def _listed(names: list[str]) -> str:
    """The first three, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"

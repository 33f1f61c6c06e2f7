"""Loading checkpoints: no code in a file is run, and no network is loaded in part."""

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

from vggviz.networks.named import NetworkError
from vggviz.platform.python_file import nearest
from vggviz.types import Error

__all__ = ["class_count", "load_weights", "read_checkpoint"]

WRAPPERS = ("state_dict", "model", "net", "model_state_dict", "ema")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors file, or in one that `torch.save` wrote (.pth, .pt,
    .pth.tar, .ckpt), on the CPU; where it is wrapped in a dictionary, the one under
    `state_dict`, `model`, `net`, `model_state_dict` or `ema`.

    Nothing in the file is run. Raises NetworkError for a file that is missing, damaged, or holds
    no state dict; and for Python objects, as a whole pickled network, with the line that saves its
    weights instead.
    """
    if not file.is_file():
        raise NetworkError("no_file", file=str(file))
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(file) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise NetworkError("unreadable_checkpoint", name=file.name) from error
    return _unwrapped(content, file.name)


def load_weights(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load all weights of `network`. Prefixes that training adds to names (`module.`, `_orig_mod.`,
    `model.`, `backbone.`) are removed where more names fit without them.

    Raises NetworkError, and changes nothing, where names or shapes differ: it names the first few,
    and the nearest matches.
    """
    own = network.state_dict()
    state = _stripped(state, own)
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        Error("other_shape", name=name, given=_shape(state[name]), own=_shape(own[name]))
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    faults: list[Error] = []
    if missing:
        close = nearest(missing[0], unexpected)
        faults.append(Error("names_missing", names=_listed(missing), nearest=close))
    if unexpected:
        close = nearest(unexpected[0], own)
        faults.append(Error("names_unexpected", names=_listed(unexpected), nearest=close))
    faults += shapes[:3]
    if len(shapes) > 3:
        faults.append(Error("more_shapes", count=len(shapes) - 3))
    if faults:
        raise NetworkError("other_network", faults=faults)
    network.load_state_dict(dict(state))


def class_count(state: Mapping[str, Tensor], network: nn.Module | None = None) -> int:
    """The number of classes of a network with these weights: the rows of its last layer.

    The last layer is the last in the order of `state`; or, since safetensors files are in
    alphabetical order, in that of `network`, which has the same layers but may have another number
    of classes.

    Raises NetworkError where no layer is found.
    """
    if network is not None:
        own = network.state_dict()
        state = _stripped(state, own)
        state = {name: state[name] for name in own if name in state} or state
    layers = [x for name, x in state.items() if name.endswith("weight") and x.ndim in (2, 4)]
    if not layers:
        raise NetworkError("no_class_count")
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
        raise NetworkError("no_state_dict", name=name, wrappers=", ".join(WRAPPERS))
    return state


def _refusal(file: Path) -> NetworkError:
    """An error that says why a file with Python objects is not opened, and what to do."""
    try:
        names = get_unsafe_globals_in_checkpoint(file)
    except Exception:  # it can't even be looked through
        names = []
    if not names:
        return NetworkError("unreadable_checkpoint", name=file.name)
    whole = any(name.startswith("torch.nn.") for name in names)
    state = f"torch.load({file.name!r}, weights_only=False)"
    if whole:
        return NetworkError("pickled_network", name=file.name, state=f"{state}.state_dict()")
    state += '["state_dict"]'
    return NetworkError("pickled_objects", name=file.name, objects=_listed(names), state=state)


def _stripped(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """`state` without the prefixes, removed in the order, with which most names are in `own`."""
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


def _shape(x: Tensor) -> str:
    return str(tuple(x.shape))


def _listed(names: list[str]) -> Error | str:
    """The first three, and how many more, as a value of an Error."""
    first, more = ", ".join(names[:3]), len(names) - 3
    return Error("and_more", names=first, count=more) if more > 0 else first

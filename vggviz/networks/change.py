"""A network with other attention weights, or with those of before its training."""

from __future__ import annotations

from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from vggviz.hooks import finding
from vggviz.hooks.capture import Change, intervene
from vggviz.networks import ForeignNetwork, Network, build_network

__all__ = ["change_attention", "key_positions", "untrained_copy"]


def change_attention(network: Network, change: Change) -> AbstractContextManager[object]:
    """A context in which `network` works with `change(path, kind, weights)`, of the same shape
    (B, ...), instead of its attention weights: at all taps, or wherever attention was found."""
    if isinstance(network, ForeignNetwork):
        return finding(network, network.places, change=change)
    return intervene(network, change)


def key_positions(network: Network) -> dict[str, Tensor]:
    """Where the keys (N, M) of each query lie, by path, where attention works in windows."""
    places = network.places if isinstance(network, ForeignNetwork) else ()
    found = {place.path: place.layout.positions for place in places}
    return {path: positions for path, positions in found.items() if positions is not None}


def untrained_copy(network: Network, generator: torch.Generator) -> Network:
    """The network with fresh weights drawn from `generator`, on the CPU.

    A foreign network's modules are reset by their own `reset_parameters`. Parameters of modules
    that have none (position embeddings, scales) are drawn from a normal distribution with their own
    mean and standard deviation.
    """
    if not isinstance(network, ForeignNetwork):
        return build_network(network.config, generator)
    fresh = deepcopy(network).cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for module in fresh.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
                continue
            for values in module.parameters(recurse=False):
                values.normal_(float(values.mean()), float(values.std(correction=0)))
    return fresh

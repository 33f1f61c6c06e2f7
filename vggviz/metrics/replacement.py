"""Other weights in the place of the learned ones, to see whether the network uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vggviz.hooks.neutral import neutral_weights
from vggviz.types import Kind

__all__ = ["REPLACEMENTS", "Replacement", "change_to"]

Replacement = Callable[[Kind, Tensor, torch.Generator], Tensor]
DISTRIBUTIONS = {"token": -1, "pool": -1, "branch": 1}  # kind -> the axis along which the sum is 1


def identity(kind: Kind, weights: Tensor, generator: torch.Generator) -> Tensor:
    """The weights that do nothing: see `neutral_weights`."""
    return neutral_weights(kind, weights)


def uniform(kind: Kind, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture's weights become their mean; each distribution over M keys 1/M.

    What is left is how strong the attention is, without where or what it is for.
    """
    if kind in ("token", "pool"):
        return torch.full_like(weights, 1 / weights.shape[-1])
    return weights.flatten(1).mean(1).reshape(-1, *[1] * (weights.ndim - 1)).expand_as(weights)


def inverted(kind: Kind, weights: Tensor, generator: torch.Generator) -> Tensor:
    """low + high − w, with each picture's smallest and largest weight: what counted most counts
    least. Distributions are turned over one by one and keep their sum."""
    axes = DISTRIBUTIONS.get(kind, tuple(range(1, weights.ndim)))
    turned = weights.amin(axes, keepdim=True) + weights.amax(axes, keepdim=True) - weights
    if kind in DISTRIBUTIONS:
        return turned * (weights.sum(axes, keepdim=True) / turned.sum(axes, keepdim=True))
    return turned


def shuffled(kind: Kind, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture's own weights in an order of its own, drawn anew from `generator`.

    `token`: over the keys, alike for all queries and heads of a picture; `branch`: over channels,
    alike for all branches; others over everything that they weigh.
    """
    flat = weights if kind in ("token", "branch") else weights.flatten(1)
    noise = torch.rand(len(flat), flat.shape[-1], generator=generator)
    order = noise.argsort(1).to(weights.device)  # (B, n)
    index = order.reshape(len(flat), *[1] * (flat.ndim - 2), -1).expand_as(flat)
    return flat.gather(-1, index).reshape(weights.shape)


# (kind, weights (B, ...), generator) -> weights of the same shape; see `change_to`.
REPLACEMENTS: dict[str, Replacement] = {
    "identity": identity,
    "uniform": uniform,
    "inverted": inverted,
    "shuffled": shuffled,
}


def change_to(
    name: str, generator: torch.Generator, positions: Mapping[str, Tensor]
) -> Callable[[str, Kind, Tensor], Tensor]:
    """The function (path, kind, weights) → other weights for `Network.intervene`, of a key of
    `REPLACEMENTS`; `positions` are the network's `key_positions`."""

    def change(path: str, kind: Kind, weights: Tensor) -> Tensor:
        if name == "identity":
            return neutral_weights(kind, weights, positions.get(path))
        return REPLACEMENTS[name](kind, weights, generator)

    return change

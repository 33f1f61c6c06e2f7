"""Other weights in the place of the learned ones, to see whether the network uses them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vggviz.hooks.neutral import neutral_weights
from vggviz.types import Kind

__all__ = ["REPLACEMENTS", "Replacement"]

Replacement = Callable[[Kind, Tensor, torch.Generator], Tensor]


def identity(kind: Kind, weights: Tensor, generator: torch.Generator) -> Tensor:
    """The weights that do nothing: see `neutral_weights`."""
    return neutral_weights(kind, weights)


def uniform(kind: Kind, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture's weights become their mean; each distribution 1/M or 1/N.

    What is left is how strong the attention is, without where or what it is for.
    """
    if kind in ("token", "pool"):
        return torch.full_like(weights, 1 / weights.shape[-1])
    return weights.flatten(1).mean(1).reshape(-1, *[1] * (weights.ndim - 1)).expand_as(weights)


def inverted(kind: Kind, weights: Tensor, generator: torch.Generator) -> Tensor:
    """low + high − w, with each picture's smallest and largest weight: what counted most counts
    least. Distributions (`branch`: of each channel over the branches) are turned over one by one
    and divided by their new sum."""
    if kind in ("token", "pool", "branch"):
        axis = 1 if kind == "branch" else -1
        turned = weights.amin(axis, keepdim=True) + weights.amax(axis, keepdim=True) - weights
        return turned / turned.sum(axis, keepdim=True)
    axes = tuple(range(1, weights.ndim))
    return weights.amin(axes, keepdim=True) + weights.amax(axes, keepdim=True) - weights


def shuffled(kind: Kind, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture's own weights in an order of its own, drawn anew from `generator`.

    `channel`: over channels; `spatial` and `pool`: over positions; `volume` and `axis`: over all
    features; `token`: over the keys, alike for all queries and heads of a picture; `branch`: over
    channels, alike for all branches.
    """
    flat = weights if kind in ("token", "branch") else weights.flatten(1)
    noise = torch.rand(len(flat), flat.shape[-1], generator=generator)
    order = noise.argsort(1).to(weights.device)  # (B, n)
    index = order.reshape(len(order), *[1] * (flat.ndim - 2), -1).expand_as(flat)
    return flat.gather(-1, index).reshape(weights.shape)


# (kind, weights (B, ...), generator) -> weights of the same shape; see `capture.intervene`.
REPLACEMENTS: dict[str, Replacement] = {
    "identity": identity,
    "uniform": uniform,
    "inverted": inverted,
    "shuffled": shuffled,
}

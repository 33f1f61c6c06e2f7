"""Other weights in the place of the learned ones, to see whether the network uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vggviz.types import Kind

__all__ = ["REPLACEMENTS", "Replacement", "change_to"]

Replacement = Callable[[Kind, Tensor, torch.Generator], Tensor]
DISTRIBUTIONS = {"token": -1, "pool": -1, "branch": 1}  # kind -> the axis along which the sum is 1


def identity(
    kind: Kind, weights: Tensor, generator: torch.Generator, positions: Tensor | None = None
) -> Tensor:
    """The weights that do nothing: gates of 1, tokens that look at themselves.

    `positions` (N, M) says where each query's own keys lie, as in windows. Without it, where there
    are fewer keys than queries, each query looks at the key nearest to it, on square grids. No
    weights of `pool` and `branch` do nothing: all positions, or branches, count alike.
    Raises ValueError for a `token` map whose nearest keys are not known.
    """
    if kind in ("pool", "branch"):
        return uniform(kind, weights, generator)
    if kind != "token":
        return torch.ones_like(weights)
    queries, keys = weights.shape[-2:]
    index = torch.arange(queries, device=weights.device)
    if positions is not None:
        index = (positions.to(weights.device) == index[:, None]).int().argmax(1)
    elif queries != keys:
        side, across = round(queries**0.5), round(keys**0.5)
        if side**2 != queries or across**2 != keys:
            raise ValueError(f"no nearest keys: {queries} queries and {keys} keys are not squares")
        nearest = ((index[:side] + 0.5) * across / side).long()
        index = (nearest[:, None] * across + nearest).flatten()  # (N,)
    return torch.nn.functional.one_hot(index, keys).to(weights).expand_as(weights).contiguous()


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


# (kind, weights (B, ...), generator) -> weights of the same shape; see `change_attention`.
REPLACEMENTS: dict[str, Replacement] = {
    "identity": identity,
    "uniform": uniform,
    "inverted": inverted,
    "shuffled": shuffled,
}


def change_to(
    name: str, generator: torch.Generator, positions: Mapping[str, Tensor] | None = None
) -> Callable[[str, Kind, Tensor], Tensor]:
    """The function (path, kind, weights) → other weights, of a key of `REPLACEMENTS`; `positions`
    by path as for `identity`, see `networks.change.key_positions`."""

    def change(path: str, kind: Kind, weights: Tensor) -> Tensor:
        if name == "identity":
            return identity(kind, weights, generator, (positions or {}).get(path))
        return REPLACEMENTS[name](kind, weights, generator)

    return change

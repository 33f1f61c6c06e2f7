"""Attention weights that do nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from vggviz.types import Kind

__all__ = ["neutral_weights"]


def neutral_weights(kind: Kind, weights: Tensor, positions: Tensor | None = None) -> Tensor:
    """Weights (B, ...) that leave features unchanged, in the place of `weights` of this kind.

    Gates become 1. Distributions have no such weights: in `token` (B, heads, N, M) each query
    attends only to the key nearest to it, which is its own token where queries and keys are the
    same tokens, or where `positions` (N, M) names the token of each of its keys, as in windows; in
    `pool` all positions, and in `branch` (B, branches, C) all branches, get the same weight.
    `other` weights stay as they are, since their effect is not known. Raises ValueError for `token`
    weights with N != M, without `positions`, whose grids are not square.
    """
    if kind == "pool":
        return torch.full_like(weights, 1 / weights.shape[-1])
    if kind == "branch":
        return torch.full_like(weights, 1 / weights.shape[1])
    if kind == "other":
        return weights
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

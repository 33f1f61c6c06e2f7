"""Attention sinks: the places that nearly all queries look at, and attention without them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["attention_sinks", "without_sinks"]

TIMES = 2.0  # the even share that a sink gets of a query, at least
QUERIES = 0.75  # share of the queries that give it so much, at least


def attention_sinks(
    weights: Tensor, times: float = TIMES, queries: float = QUERIES
) -> tuple[int, ...]:
    """The keys that get at least `times` the even share of at least the share `queries` of all
    queries, those that receive most first.

    `weights` (N, M) are not negative; a row counts by its shares A = weights / row sum, of which
    1/M is the even one: key m is a sink where mean over n of [A[n, m] ≥ times/M] ≥ queries.

    Darcet et al. 2024, 'Vision Transformers Need Registers' (arXiv 2309.16588) find such places in
    large ViTs. Departure: there they are tokens whose output features have a large norm; here what
    is asked is the attention itself, which any network with self-attention has.
    """
    share = weights / weights.sum(1, keepdim=True)
    popular = (share >= times / weights.shape[1]).float().mean(0) >= queries  # (M,)
    received = share.mean(0)
    found: list[int] = popular.nonzero().flatten().tolist()
    return tuple(sorted(found, key=lambda key: -float(received[key])))


def without_sinks(weights: Tensor, sinks: Sequence[int]) -> Tensor:
    """The weights (…, M) with none on the keys `sinks`; the others of a row grow in proportion, so
    that it keeps its sum. A row that has no other weight is all zeros."""
    rest = weights.clone()
    rest[..., list(sinks)] = 0
    left = rest.sum(-1, keepdim=True)
    grown = rest * (weights.sum(-1, keepdim=True) / left.where(left > 0, left.new_ones(())))
    return grown.where(left > 0, grown.new_zeros(()))

"""The attention of every position as bytes and words, for a page that draws it by itself."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vggviz.app.tabs.panels import text_percent
from vggviz.metrics.sinks import attention_sinks, without_sinks
from vggviz.plotting.numbers import range_text
from vggviz.types import AttentionRecord

__all__ = ["LIMIT", "attention_rows", "find_sinks"]

LIMIT = 4 << 20  # bytes of maps that a page is sent at once


def find_sinks(record: AttentionRecord) -> tuple[int, ...]:
    """The `attention_sinks` of the average over heads, counted along the rows of the keys; none
    where a query sees a part of the keys only."""
    if record.positions is not None:
        return ()
    return attention_sinks(_on_grid(record, record.weights.mean(0)))


def attention_rows(record: AttentionRecord, query: int, *, alone: bool = False) -> dict[str, Any]:
    """What the page draws of a 'token' record, as JSON types: of all N = H·W queries, or only of
    `query` if `alone`, or where the averages of all would take more than `LIMIT` bytes.

    `rows`, `columns` and `keys` are the grids of queries and keys; `first` and `count` say which
    queries it holds, counted along the rows. `heads` is how many the network has, `layers` how many
    maps a query has here: the average over heads and, where there is room, each head. `sinks` are
    places of `find_sinks`; `views` is a view of all attention and, where there are any, one without
    them (see `_view`).
    """
    assert record.keys is not None
    count, cells, heads = math.prod(record.grid), math.prod(record.keys), len(record.weights)
    sinks = find_sinks(record)
    size = (1 + bool(sinks)) * cells  # bytes of a query's average, in all views
    first, held = (query, 1) if alone or count * size > LIMIT else (0, count)
    each = held * size * (1 + heads) <= LIMIT
    queries = slice(first, first + held)
    itself = _same_place(torch.arange(count)[queries], record)
    return {
        "rows": record.grid[0],
        "columns": record.grid[1],
        "keys": list(record.keys),
        "first": first,
        "count": held,
        "heads": heads,
        "layers": 1 + each * heads,
        "sinks": list(sinks),
        "views": [
            _view(_layers(record, queries, hidden, each), itself, cells - len(hidden))
            for hidden in ([(), sinks] if sinks else [()])
        ],
    }


def _layers(record: AttentionRecord, queries: slice, hidden: Sequence[int], each: bool) -> Tensor:
    """(L, n, h·w): the average over heads, and `each` head, of some queries; without the weights on
    the `hidden` places, which each head is rid of on its own."""
    total, heads = None, []
    for weights in record.weights:
        head = _on_grid(record, weights, queries)
        head = without_sinks(head, hidden) if hidden else head
        total = head if total is None else total + head
        heads += [head] if each else []
    assert total is not None
    return torch.stack([total / len(record.weights), *heads])


def _on_grid(record: AttentionRecord, weights: Tensor, queries: slice = slice(None)) -> Tensor:
    """The weights (N, M) of one head on the keys' grid, of all queries with a position or some of
    them: (n, h·w)."""
    assert record.keys is not None
    count, cells = math.prod(record.grid), math.prod(record.keys)
    weights = weights[-count:][queries]
    if record.positions is None:
        return weights[:, -cells:]
    laid = weights.new_zeros(len(weights), cells)
    return laid.scatter_add_(1, record.positions[-count:][queries], weights)


def _same_place(queries: Tensor, record: AttentionRecord) -> Tensor:
    """The key position where each query lies, counted along the rows."""
    assert record.keys is not None
    (height, width), (rows, columns) = record.keys, record.grid
    row, column = queries // columns, queries % columns
    return row * height // rows * width + column * width // columns


def _view(layers: Tensor, itself: Tensor, places: int) -> dict[str, Any]:
    """Maps, colour bars and readings of attention `layers` (L, n, cells), the average first.

    `maps` are (L, n, cells) bytes as base64: 255 is the map's largest weight; `tops` (L, n) are
    these as text, and `flat` the indices l·n + query of maps that are the same everywhere.
    `readings` has for each query: the place with the largest weight of the average, this weight,
    that of the place itself (`itself`, (n,)), both in per cent as text, on how many cells half of
    the attention rests, and whether it is nearly even over all `places`.
    """
    average = layers[0]
    least, most = layers.amin(2), layers.amax(2)  # (L, n)
    flat = ~(most - least > 1e-6 * torch.maximum(least.abs(), most.abs()))
    share = (layers / most.where(most > 0, most.new_ones(()))[..., None]).nan_to_num(0).clamp(0, 1)
    pixels = (255 * share).round().to(torch.uint8).contiguous().numpy()
    largest, to = average.max(1)
    own = average.gather(1, itself[:, None])[:, 0]
    below = average.sort(1, descending=True).values.cumsum(1)
    half = 1 + (below < 0.5 * average.sum(1, keepdim=True)).sum(1)
    columns = (one.tolist() for one in (to, largest, own, half, largest < 1.5 / places))
    return {
        "maps": base64.b64encode(pixels.tobytes()).decode(),
        "tops": [[range_text(0.0, top)[1] for top in tops] for tops in most.tolist()],
        "flat": flat.flatten().nonzero().flatten().tolist(),
        "places": places,
        "even": text_percent(1 / places),
        "readings": [
            [place, text_percent(weight), text_percent(same), cells, even]
            for place, weight, same, cells, even in zip(*columns, strict=True)
        ],
    }

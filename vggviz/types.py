"""The nouns and errors: what is passed around, computing no more than views of itself.

Axis letters: B batch, C channels, H W height and width, N = H·W positions, M key positions,
K classes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from vggviz import inline
from vggviz.locales import TEXTS, text

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "GATES",
    "POSITIONS",
    "AttentionRecord",
    "Error",
    "Grid",
    "Heatmap",
    "InputError",
    "Kind",
    "PositionError",
    "Prediction",
    "Ranked",
    "matching",
]

Kind = Literal["channel", "spatial", "volume", "token", "pool", "axis", "branch", "other"]
POSITIONS: tuple[Kind, ...] = ("spatial", "volume", "token", "pool")
"""The kinds that have a weight for every position."""
GATES: tuple[Kind, ...] = ("channel", "spatial", "volume", "axis")
"""The kinds whose weights lie in [0, 1], each on its own; those of the others sum to 1."""
Grid = tuple[int, int]


class Error(Exception):
    """What went wrong, as a `code` and `values`; `message` words it, in English for `str`.

    The text of a code has the key 'error.<code>' in every language. A code without a text is a
    plain English sentence and stands for itself.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)  # so that it can be pickled: `values` travel in `__dict__`
        self.code, self.values = code, values

    def __str__(self) -> str:
        return self.message()

    def message(self, lang: str = "en") -> str:
        """The text of `code` in `lang`, `values` filled in. A value that is an Error is worded
        itself, a list of them as clauses; a tuple is alternatives, each in quotation marks."""
        key = f"error.{self.code}"
        if key not in TEXTS["en"]:
            return self.code
        worded = {name: _worded(value, lang) for name, value in self.values.items()}
        return text(lang, key, **worded)


def _worded(value: object, lang: str) -> object:
    if isinstance(value, Error):
        return value.message(lang)
    if isinstance(value, list):
        return text(lang, "language.and").join(str(_worded(one, lang)) for one in value)
    if isinstance(value, tuple):
        quoted = (text(lang, "language.quote", name=one) for one in value)
        return text(lang, "language.or").join(quoted)
    return value


class InputError(Error, ValueError):
    """There is no such class, layer or method."""


class PositionError(Error, IndexError):
    """There is no such position or head in attention."""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionRecord:
    """The attention weights that one picture got at one stage: detached, CPU, float32.

    `weights` is, by `kind`:
    `channel` (C,), one weight a channel;
    `spatial` (H, W), one a position;
    `volume` (C, H, W), one a feature;
    `token` (heads, N, M), for each query position a distribution over the keys;
    `pool` (N,), one distribution over all positions;
    `axis` (C, H) or (C, W), one a channel and row, or column;
    `branch` (branches, C), for each channel one a branch;
    `other`, as the network has them.
    `grid` (H, W) is where positions (for `token` the queries) lie, `keys` (h, w) where the keys
    of a `token` map lie. Tokens without a position, as a class token, stand before the others.
    `path` is the module that computed the weights. `positions` (N, M), where given, says where on
    `keys` each query's own M keys lie, counted along the rows: a query sees a part of them only.
    """

    stage: str
    kind: Kind
    weights: Tensor
    grid: Grid
    keys: Grid | None = None
    path: str = ""
    positions: Tensor | None = None

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.weights.shape))
        span = f"{self.low:.3g} to {self.high:.3g}"
        return f"<AttentionRecord {self.kind} {shape} at {self.stage!r}: {span}>"

    def _repr_html_(self) -> str:
        """For notebooks: the first of the views, or else the raw weights as rows."""
        view = self.views[0] if self.views else self.weights.reshape(-1, self.weights.shape[-1])
        return inline.heat(view.numpy(), repr(self)[1:-1], self.kind in GATES)

    @property
    def views(self) -> tuple[Tensor, ...]:
        """What can be drawn: the map over positions (H, W), or else the vector over channels (C,);
        of `branch` one vector a branch; of `other` nothing."""
        if self.kind == "branch":
            return tuple(self.weights)
        return tuple(view for view in (self.spatial, self.channel) if view is not None)[:1]

    @property
    def low(self) -> float:
        """The smallest raw weight."""
        return float(self.weights.min())

    @property
    def high(self) -> float:
        """The largest raw weight."""
        return float(self.weights.max())

    @property
    def spatial(self) -> Tensor | None:
        """The weights as a map over positions, (H, W); None where the kind has no such view.

        `volume`: the mean over channels. `token`: the attention that each key position
        receives (see `received`), on the grid of the keys. `pool`: the distribution on its grid.
        `axis`: the mean over channels, as (H, 1) or (1, W).
        """
        if self.kind == "spatial":
            return self.weights
        if self.kind == "volume":
            return self.weights.mean(0)
        if self.kind == "axis":
            return self.weights.mean(0).reshape(self.grid)
        if self.kind == "token":
            return self.received()
        if self.kind == "pool":
            return self.weights.reshape(self.grid)  # (N,) -> (H, W)
        return None

    @property
    def channel(self) -> Tensor | None:
        """The weights as a vector over channels, (C,); None where the kind has no such view.

        `volume`: the mean over positions. `axis`: the mean over rows, or columns. `branch`: the
        shares of the first branch.
        """
        if self.kind == "channel":
            return self.weights
        if self.kind == "axis":
            return self.weights.mean(1)
        if self.kind == "branch":
            return self.weights[0]
        if self.kind == "volume":
            return self.weights.mean((1, 2))
        return None

    def received(self, head: int | None = None) -> Tensor:
        """Attention that each key position receives, (h, w): the mean over query positions.

        Its sum is 1, or what is left by keys without a position. Averaged over heads, or of one
        `head`. Raises ValueError where the kind is not `token`.
        """
        rows, columns = self.grid
        weights = self._heads(head)[-rows * columns :]  # (N, M)
        return self._laid(weights.mean(0) if self.positions is None else weights / len(weights))

    def query(self, row: int, column: int, head: int | None = None) -> Tensor:
        """Where the query position (`row`, `column`) of `grid` looks, (h, w).

        Its sum is 1, or what is left by keys without a position. Averaged over heads, or of one
        `head`. Raises ValueError where the kind is not `token`, IndexError where the position or
        the head does not exist.
        """
        height, width = self.grid
        if not (0 <= row < height and 0 <= column < width):
            raise PositionError("no_position", row=row, column=column, height=height, width=width)
        weights = self._heads(head)
        index = len(weights) - height * width + row * width + column
        return self._laid(weights[index], index)

    def class_token(self, head: int | None = None) -> Tensor:
        """Where the first token without a position looks, (h, w). Averaged over heads, or of one
        `head`. Raises ValueError where the kind is not `token`, or all queries have positions."""
        weights = self._heads(head)
        if len(weights) == self.grid[0] * self.grid[1]:
            raise ValueError(f"{self.stage!r} has no class token: all queries have positions")
        return self._laid(weights[0])

    def _laid(self, weights: Tensor, query: int | None = None) -> Tensor:
        """On the grid of the keys, (h, w): weights (M,) of one query, or (N, M) as a sum."""
        height, width = self._keys()
        if self.positions is None:
            return weights[-height * width :].reshape(height, width)
        where = self.positions if query is None else self.positions[query]
        laid = weights.new_zeros(height * width)
        return laid.index_add_(0, where.flatten(), weights.flatten()).reshape(height, width)

    def _heads(self, head: int | None) -> Tensor:
        """(N, M): the mean over heads, or one head."""
        self._keys()
        if head is None:
            return self.weights.mean(0)
        if not 0 <= head < len(self.weights):
            raise PositionError("no_head", head=head, count=len(self.weights))
        return self.weights[head]

    def _keys(self) -> Grid:
        if self.kind != "token" or self.keys is None:
            raise ValueError(f"{self.kind!r} attention has no queries: only 'token' attention has")
        return self.keys


class Ranked(NamedTuple):
    """One class of a prediction."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no one calls here
    label: str
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the network says: `logits` (K,), and the classes from the most probable down."""

    logits: Tensor
    ranked: tuple[Ranked, ...]

    def __repr__(self) -> str:
        top = ", ".join(f"{one.label!r} {one.probability:.1%}" for one in self.top(3))
        return f"<Prediction {top}; {len(self.ranked)} classes>"

    def _repr_html_(self) -> str:
        """For notebooks: the five most probable classes."""
        return inline.bars((one.label, one.probability) for one in self.top(5))

    def top(self, count: int = 5) -> tuple[Ranked, ...]:
        """The `count` most probable classes as (index, label, probability)."""
        return self.ranked[:count]

    def __iter__(self) -> Iterator[Ranked]:
        return iter(self.ranked)


@dataclass(frozen=True, slots=True, eq=False)
class Heatmap:
    """A map of one method at one stage for one class: `values` (H, W) in [0, 1].

    values = (raw − low) / (high − low), after the method's own ReLU, at the stage's resolution.
    Normalising can't be undone, so the raw range is kept. A flat map (low = high) is all zeros.
    `target` is None for a method that knows no class (EigenCAM).
    """

    values: Tensor
    method: str
    stage: str
    target: int | None
    low: float
    high: float

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.values.shape))
        about = "knows no class" if self.target is None else f"class {self.target}"
        span = f"{self.low:.3g} to {self.high:.3g}"
        return f"<Heatmap {self.method} {shape} at {self.stage!r}, {about}: {span}>"

    def _repr_html_(self) -> str:
        """For notebooks: the map."""
        return inline.heat(self.raw.numpy(), repr(self)[1:-1])

    @property
    def flat(self) -> bool:
        """Whether the raw map was the same everywhere, so that there is nothing to see."""
        return self.low == self.high

    @property
    def raw(self) -> Tensor:
        """The map before normalising, (H, W)."""
        return self.values * (self.high - self.low) + self.low


def matching(name: str, names: Sequence[str]) -> list[int]:
    """The indices in `names` of what is `name` exactly; where there is none, of what differs only
    in case or in how Unicode composes its characters."""
    exact = [index for index, one in enumerate(names) if one == name]
    folded = _folded(name)
    return exact or [index for index, one in enumerate(names) if _folded(one) == folded]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()

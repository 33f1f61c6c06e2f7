"""What attention weights of a given shape weigh: their kind, and which axis is which.

Axis letters of features: B batch, C channels, H W height and width, N positions in a row, K
branches, G groups of channels that were moved into the batch axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import Any

import torch
from torch import Tensor

from vggviz.types import AttentionRecord, Grid, Kind

__all__ = ["Geometry", "Layout"]

# By the letters of the axes along which the weights differ: the kind and the order of its axes.
KINDS: dict[str, tuple[Kind, str]] = {
    "C": ("channel", "C"),
    "CG": ("channel", "GC"),
    "HW": ("spatial", "HW"),
    "N": ("spatial", "N"),
    "CHW": ("volume", "CHW"),
    "CGHW": ("volume", "GCHW"),
    "CN": ("volume", "CN"),
    "CH": ("axis", "CH"),
    "CW": ("axis", "CW"),
    "CK": ("branch", "KC"),
}
# Tokens without a position stand first: class token, distillation token, 4 or 8 registers.
PREFIXES = (1, 2, 4, 5, 8, 9)
UNKNOWN: Grid = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How weights as a network has them become those of `kind`, (B, *shape), and back.

    The raw weights of one picture have the axes `split`, axes of one element left out; `order`
    permutes them. `rows` (N,) then sorts the query positions of windows into those of the grid,
    and `positions` (N, M) says where each query's keys lie.
    """

    kind: Kind
    grid: Grid
    keys: Grid | None
    split: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    batch: int = 0
    rows: Tensor | None = None
    positions: Tensor | None = None

    def without_batch(self, raw: Sequence[int]) -> tuple[int, ...]:
        """The shape of raw weights without their batch axis."""
        return (*raw[: self.batch], *raw[self.batch + 1 :])

    def arrange(self, raw: Tensor) -> Tensor:
        """(B, *shape) of the raw weights: a view of them where that is possible."""
        axes = [0, *(axis + 1 for axis in self.order)]
        weights = raw.movedim(self.batch, 0).reshape(-1, *self.split).permute(axes)
        weights = weights.reshape(-1, *self.shape)
        return weights if self.rows is None else weights[:, :, self.rows.to(raw.device)]

    def restore(self, weights: Tensor, raw: Sequence[int]) -> Tensor:
        """Weights (B, *shape) in the raw shape: the inverse of `arrange`."""
        if self.rows is not None:
            weights = weights[:, :, self.rows.argsort().to(weights.device)]
        back = [0, *(self.order.index(axis) + 1 for axis in range(len(self.order)))]
        weights = weights.reshape(-1, *(self.split[axis] for axis in self.order)).permute(back)
        moved = list(raw)
        moved.insert(0, moved.pop(self.batch))
        return weights.reshape(moved).movedim(0, self.batch)

    def record(self, weights: Tensor, path: str, stage: str) -> AttentionRecord:
        """The record of one picture's `weights` (*shape)."""
        kept = weights.detach().to("cpu", torch.float32, copy=True)
        return AttentionRecord(stage, self.kind, kept, self.grid, self.keys, path, self.positions)


class Geometry:
    """The grids on which one pass has had its features so far."""

    def __init__(self) -> None:
        self.batch = 1
        self.size: Grid | None = None  # of the picture
        self.grids: dict[Grid, None] = {}  # the latest last
        self.partition: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
        self.shift: Grid = (0, 0)
        self.scrambled = False
        self.inner: Grid | None = None  # the only grid whose positions are in order, after cuts

    def start(self, pixels: Sequence[int]) -> None:
        """Begin with pictures of this shape, (B, C, H, W), if it is known."""
        if pixels:
            self.batch, self.size = pixels[0], (pixels[-2], pixels[-1])

    def see(self, shape: Sequence[int]) -> None:
        """Remember the grid of features (B, C, H, W) or (B, H, W, C), if it is one."""
        if len(shape) == 4 and shape[0] == self.batch:
            for grid in ((shape[1], shape[2]), (shape[2], shape[3])):
                if self._fits(grid):
                    self.grids.pop(grid, None)
                    self.grids[grid] = None

    def rolled(self, shifts: object) -> None:
        """Remember that features were shifted cyclically along both axes."""
        if isinstance(shifts, tuple | list) and len(shifts) == 2:
            self.shift = (self.shift[0] + shifts[0], self.shift[1] + shifts[1])

    def permuted(self, name: str, shape: Sequence[int], axes: str, given: Sequence[Any]) -> str:
        """The letters of a tensor's four axes after they were permuted, or two of them transposed;
        '' after other functions.

        Permutations of more axes are remembered. So is a grid cut into windows, (B, H/h, h, W/w, w,
        C) or (B, C, H/h, h, W/w, w), or into windows of windows, after which positions are in an
        order that is not followed here. Where parts of windows were moved into the batch axis and
        are cut again, as in Hiera, only the grid of the coarsest cells is in order.
        """
        count = len(shape)
        if name not in ("permute", "transpose", "swapaxes", "swapdims") or count < 4:
            return ""
        order = list(given[0] if isinstance(given[0], tuple | list) else given)
        if name != "permute":
            one, other = order
            order = list(range(count))
            order[one], order[other] = order[other], order[one]
        order = [axis % count for axis in order]
        if count == 4:
            axes = axes or self._axes(shape)
            return "".join(axes[axis] for axis in order)
        self.scrambled |= count > 6
        if count == 6 and order[0] == 0:
            self.partition = (tuple(shape), tuple(order))
            if order[5] == 5 and shape[0] > self.batch:
                self.inner = (shape[1], shape[3])
                self.grids[self.inner] = None
        return ""

    def weighing(
        self, raw: Tensor, laid: Tensor, features: Sequence[int], names: str = ""
    ) -> Layout | None:
        """The layout of `raw` weights that came, as `laid`, into a product with features of this
        shape, whose axes have these letters if that is known. None where the weights don't differ
        along any axis: one number is no attention."""
        self.see(features)
        lead = len(features) - laid.ndim
        names = "K" * -lead + (names or self._axes(features))
        letters, sizes = "", list[int]()
        for name, size, stride in zip(
            names, (1,) * lead + laid.shape, (0,) * lead + laid.stride(), strict=True
        ):
            size = size // self.batch if name == "G" else size
            if size > 1 and stride != 0 and name != "B":  # an expanded axis has stride 0
                letters, sizes = letters + name, [*sizes, size]
        if not letters:
            return None
        batch = 1 if names.startswith("KB") and raw.ndim > 1 else 0
        axes = list(raw.shape)
        several = max(1, axes.pop(batch) // self.batch)
        axes = [size for size in ((several, *axes) if batch == 0 else axes) if size > 1]
        if letters == "C" and len(axes) == 2 and sizes[0] in axes:
            letters = "KC" if axes[1] == sizes[0] else "CK"  # the branches are taken one by one
        elif prod(axes) == prod(sizes) and sorted(axes) != sorted(sizes):
            axes = sizes  # the same numbers along other axes
        elif sorted(axes) == sorted(sizes):
            letters = _transposed(letters, sizes, axes)
        elif len(axes) < len(letters):  # a factor of a product of gates, where its axes are clear
            parts = combinations(range(len(letters)), len(axes))
            fitting = [part for part in parts if [sizes[axis] for axis in part] == axes]
            if len(fitting) == 1:
                letters = "".join(letters[axis] for axis in fitting[0])
        kind, want = KINDS.get("".join(sorted(letters)), ("other", ""))
        if kind == "other" or len(axes) != len(letters):
            return self.other(raw)
        order = tuple(letters.index(name) for name in want)
        shape = tuple(axes[axis] for axis in order)
        grid = self._grid_of(names, features)
        if want == "CH":
            grid = (shape[1], 1)
        elif want == "CW":
            grid = (1, shape[1])
        elif "N" in want and prod(grid) != shape[-1]:  # a class token has its own weight
            return self.other(raw)
        elif "N" in want:
            shape = (*shape[:-1], *grid)
        elif kind in ("spatial", "volume"):
            grid = (shape[-2], shape[-1])  # finer or coarser than that of the features
        if "G" in want:
            shape = (shape[0] * shape[1], *shape[2:])
        return Layout(kind, grid, None, tuple(axes), order, shape, batch)

    def attending(self, raw: Tensor, features: Sequence[int], scores: bool) -> Layout:
        """The layout of `raw` weights that were contracted with features of this shape; `scores`
        tells whether they came from a product of queries and keys."""
        lead, *rest = raw.shape
        if lead % self.batch:
            return self.other(raw)
        shape = [lead // self.batch, *rest]
        long = [size for size in shape if size > 1]
        if len(long) == 1 and (grid := self._grid(long[0])):
            return Layout("pool", grid, None, (long[0],), (0,), (long[0],))
        inside = self.inner is not None and len(features) > 4  # windows
        if len(shape) < 3 or not scores or self.scrambled or inside:
            return self.other(raw)
        *several, queries, keys = shape
        several = [size for size in several if size > 1]
        if 0 < len(several) < 3 and queries == keys:
            for axis in range(len(several)):
                windows = self._windows(several[axis], queries)
                if windows is not None:
                    return self._windowed(several, axis, *windows)
        over = self._grid(keys, PREFIXES) or (self._factors(keys) if queries == keys else None)
        if len(several) > 1 or over is None:
            return self.other(raw)
        for count in (features[-1], prod(several) * queries):
            # Channels attend to channels, or this is a window that was cut in an unknown way.
            if self._later(self._grid(count), over):
                return self.other(raw)
        grid = (1, 1) if queries == 1 else self._grid(queries, PREFIXES) or self._factors(queries)
        if grid is None:
            return self.other(raw)
        self.grids.setdefault(over)
        self.grids.setdefault(grid)
        split = (several[0] if several else 1, queries, keys)
        return Layout("token", grid, over, split, (0, 1, 2), split)

    def other(self, raw: Tensor) -> Layout:
        """The weights as they are, under no name."""
        several = raw.shape[0] // self.batch if raw.ndim and raw.shape[0] % self.batch == 0 else 1
        shape = (*([several] if several > 1 else ()), *raw.shape[1:])
        return Layout("other", UNKNOWN, None, shape, tuple(range(len(shape))), shape)

    def _windowed(self, several: Sequence[int], axis: int, grid: Grid, places: Tensor) -> Layout:
        """Self-attention inside windows, which are the first or second of several axes."""
        windows, n = places.shape
        heads = prod(several) // windows
        rows = places.flatten().argsort()
        keys = places.repeat_interleave(n, 0)[rows]
        split, order = ((windows, heads), (1, 0)) if axis == 0 else ((heads, windows), (0, 1))
        final = (heads, windows * n, n)
        return Layout("token", grid, grid, (*split, n, n), (*order, 2, 3), final, 0, rows, keys)

    def _windows(self, count: int, n: int) -> tuple[Grid, Tensor] | None:
        """The grid, and where in it the tokens of each window lie, (count, n), if this is known
        from how the features were cut."""
        shape, axes = self.partition
        for channel in (5, 1) if shape else ():
            cuts = [axis for axis in range(1, 6) if axis != channel]
            sizes = [shape[axis] for axis in cuts]
            grid = (sizes[0] * sizes[1], sizes[2] * sizes[3])
            order = [cuts.index(axis) for axis in axes if axis in cuts]
            if grid in self.grids and sizes[order[0]] * sizes[order[1]] == count:
                flat = torch.arange(prod(grid)).view(grid).roll(self.shift, (0, 1))
                places = flat.view(sizes).permute(order).reshape(count, -1)
                if places.shape[1] == n:
                    return grid, places
        return None

    def _axes(self, shape: Sequence[int]) -> str:
        """The letters of a feature tensor's axes; those that are not known are dots."""
        if len(shape) == 5 and self.batch in (shape[0], shape[1]):
            return "BKCHW" if shape[0] == self.batch else "KBCHW"
        lead = "B" if shape[0] == self.batch else "G"
        if shape[0] % self.batch == 0 and len(shape) == 4:
            for letters in ("CHW", "HWC", "HCW"):
                if (shape[letters.index("H") + 1], shape[letters.index("W") + 1]) in self.grids:
                    return lead + letters
            return lead + "C.."
        if shape[0] == self.batch and len(shape) == 3:
            for letters in ("NC", "CN"):
                if self._grid(shape[letters.index("N") + 1], PREFIXES):
                    return lead + letters
        return "B" + "." * (len(shape) - 1)

    def _grid_of(self, names: str, shape: Sequence[int]) -> Grid:
        """Where the features themselves lie."""
        if "N" in names:
            return self._grid(shape[names.index("N")], PREFIXES) or UNKNOWN
        if "." in names:
            return UNKNOWN
        return shape[names.index("H")], shape[names.index("W")]

    def _grid(self, count: int, prefixes: Sequence[int] = ()) -> Grid | None:
        """The latest grid that has this many positions, or so many but for a few tokens."""
        for extra, grid in product((0, *prefixes), reversed(self.grids)):
            if prod(grid) + extra == count and extra < prod(grid) > 1:
                return grid if self.inner in (None, grid) else None
        return None

    def _factors(self, count: int) -> Grid | None:
        """A grid that no features had, of the picture's proportions, perhaps with a class token."""
        if self.inner is not None:
            return None
        for places in (count, count - 1):
            for rows in range(2, places):
                if places % rows == 0 and self._fits((rows, places // rows)):
                    return rows, places // rows
        return None

    def _later(self, one: Grid | None, other: Grid) -> bool:
        """Whether features had one grid later than the other, or that one alone."""
        order = list(self.grids)
        return one is not None and (other not in order or order.index(one) > order.index(other))

    def _fits(self, grid: Grid) -> bool:
        """Whether a grid has the picture's proportions, but for one position."""
        if self.size is None:
            return False
        (height, width), (rows, columns) = self.size, grid
        return (
            rows <= height
            and columns <= width
            and abs(rows * width - columns * height) <= max(height, width)
        )


def _transposed(letters: str, sizes: Sequence[int], axes: Sequence[int]) -> str:
    """The letters of weights with these `axes`, which were perhaps transposed to `sizes` since. Of
    equal axes, such as rows and columns of a square, the order is taken to be kept."""
    if list(axes) == list(sizes):
        return letters
    left = list(zip(sizes, letters, strict=True))
    found = ""
    for size in axes:
        pair = next(pair for pair in left if pair[0] == size)
        left.remove(pair)
        found += pair[1]
    return found

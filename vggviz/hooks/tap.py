"""A place in a network where a learned attention map may be seen."""

from __future__ import annotations

from torch import Tensor, nn

from vggviz.types import Grid, Kind

__all__ = ["Tap"]


class Tap(nn.Module):
    """The identity on an attention map, named so that `capture` can find it.

    A tap has no parameters and leaves the `state_dict` and the autograd graph as they are.
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind: Kind = kind

    def forward(self, weights: Tensor, grid: Grid, keys: Grid | None = None) -> Tensor:
        """Return `weights` (B, ...) unchanged.

        `grid` (H, W) is where the positions that are weighed lie; for `token` it is where the
        queries lie, and `keys` (h, w) where the keys lie.
        """
        return weights

    def extra_repr(self) -> str:
        return self.kind

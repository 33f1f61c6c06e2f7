"""What one forward pass shows of a network: where attention is, and which outputs are maps."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vggviz.hooks.capture import evaluating
from vggviz.hooks.find import Search, finding
from vggviz.hooks.layout import PREFIXES
from vggviz.hooks.passes import Place, entered
from vggviz.types import Grid

__all__ = ["FeatureMap", "survey"]


class FeatureMap(NamedTuple):
    """Where the positions of a module's output lie: (B, C, h, w), (B, h, w, C) or (B, N, C), N
    being `extra` tokens without a position (class token, registers) and h·w positions behind them.
    """

    axes: Literal["BCHW", "BHWC", "BNC"]
    grid: Grid
    extra: int = 0

    def to_map(self, features: Tensor) -> Tensor:
        """(..., C, h, w) of features with these axes behind any others; a view. Tokens without a
        position are left out."""
        if self.axes == "BNC":
            features = features[..., self.extra :, :].unflatten(-2, self.grid)
        return features if self.axes == "BCHW" else features.movedim(-1, -3)


def survey(network: nn.Module, pixels: Tensor) -> tuple[list[Place], dict[str, FeatureMap], Any]:
    """The places of attention in `network`, the maps among its modules' outputs by module path in
    the order in which they were completed, and what it returned for `pixels` (1, C, H, W).

    Attention weights are no maps. Runs and raises as `find_attention`.
    """
    with finding(network):  # refuses what can't be looked into
        pass
    run = Survey(network)
    with torch.no_grad(), evaluating(network), entered(network, run):
        output = network(pixels)
    return [found.place for found in run.findings], run.maps, output


class Survey(Search):
    """A search for attention that looks at the outputs of all modules, too."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.maps: dict[str, FeatureMap] = {}

    def enter(self, path: str, args: tuple[Any, ...]) -> None:
        if path == "":
            self.maps.clear()
        super().enter(path, args)

    def leave(self, output: object) -> None:
        path = self.stack[-1]
        super().leave(output)
        first = output[0] if isinstance(output, tuple | list) and output else output
        if path and isinstance(first, Tensor) and first.is_floating_point():
            self.maps.pop(path, None)  # of a module that runs several times the last output counts
            found = self._map(first)
            if found is not None and not self.marks.note(first).roots:
                self.maps[path] = found

    def _map(self, output: Tensor) -> FeatureMap | None:
        """Where the positions of an output lie, if that is clear."""
        shape = tuple(output.shape)
        axes = self.geometry._axes(shape) if output.ndim in (3, 4) else ""
        if axes == "BCHW":
            return FeatureMap("BCHW", (shape[2], shape[3]))
        if axes == "BHWC":
            return FeatureMap("BHWC", (shape[1], shape[2]))
        grid = self.geometry._grid(shape[1], PREFIXES) if axes == "BNC" else None
        return grid and FeatureMap("BNC", grid, shape[1] - grid[0] * grid[1])

"""Taps in a module that has none: its attention is found while it runs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vggviz.hooks.find import probe
from vggviz.hooks.passes import Place, Watch, entered
from vggviz.hooks.tap import Tap
from vggviz.types import Grid, Kind

__all__ = ["Tapped"]


class Tapped(nn.Module):
    """A module whose attention weights pass through a `Tap` a place: (B, C, H, W) → (B, C, H, W).

    The places are those of a first probing pass over `features` (B, C, H, W); features of another
    height or width are probed anew, once. Where attention is of another kind there (a map of one
    position is none) it passes no tap. `taps` is empty where the module has no attention.
    """

    def __init__(self, module: nn.Module, features: Tensor) -> None:
        super().__init__()
        self.module = module
        self._indices: dict[tuple[str, str, int], int] = {}
        self._probed: dict[Grid, dict[Place, int]] = {}
        places = probe(module, features)
        self._indices = {_call(place): index for index, place in enumerate(places)}
        self.taps = nn.ModuleList(Tap(_kind(place)) for place in places)

    def forward(self, x: Tensor) -> Tensor:
        run = _Routed({place: self.taps[index] for place, index in self._places(x).items()})
        with entered(self.module, run):
            y: Tensor = self.module(x)
            graph = torch.is_grad_enabled()
        torch.set_grad_enabled(graph)  # a capture may have begun its graph at one of the taps
        return y

    def _places(self, x: Tensor) -> dict[Place, int]:
        """The places for features of this size, each with the index of its tap."""
        size = (x.shape[2], x.shape[3])
        if size not in self._probed:
            found = probe(self.module, x[:1].detach())
            known = {place: self._indices.get(_call(place), -1) for place in found}
            self._probed[size] = {
                place: index
                for place, index in known.items()
                if index >= 0 and getattr(self.taps[index], "kind", None) == _kind(place)
            }
        return self._probed[size]


class _Routed(Watch):
    """A pass in which the weights at each place go through a tap."""

    def __init__(self, taps: Mapping[Place, nn.Module]) -> None:
        super().__init__(taps, (), None)
        self.taps = taps

    def changed(self, place: Place, weights: Tensor) -> Tensor:
        """What the tap returns: the weights themselves, unless something hangs on it."""
        through: Tensor = self.taps[place](weights, place.layout.grid, place.layout.keys)
        return through


def _call(place: Place) -> tuple[str, str, int]:
    return place.path, place.function, place.index


def _kind(place: Place) -> Kind:
    """A tap can't say where the keys of windows lie: such weights are shown as they are."""
    return place.kind if place.layout.positions is None else "other"

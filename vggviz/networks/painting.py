"""Attention weights that somebody paints, in the place of those that a network computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vggviz.hooks.capture import TapReading, capture
from vggviz.networks.protocol import Network
from vggviz.types import Grid, InputError, Kind

__all__ = [
    "MOST_CELLS",
    "Grounds",
    "PaintGround",
    "paint",
    "paint_grounds",
    "painted_logits",
    "painted_weights",
]

PAINTABLE: tuple[Kind, ...] = ("spatial", "pool", "volume", "channel")  # the first that there is
MOST_CELLS = 28
"""The most rows and columns of a mask; on a finer grid it is enlarged."""


@dataclass(frozen=True, slots=True, eq=False)
class PaintGround:
    """What one stage is painted on: the input `features` (1, C, H, W) of its attention for one
    picture, and the `kind`, grid and `learned` weights that a mask takes the place of.

    `weights` are as in an `AttentionRecord` of this kind. A mask has the size `size`: the grid, at
    most `MOST_CELLS` a side, or (1, C) for channels.
    """

    stage: str
    kind: Kind
    features: Tensor
    weights: Tensor
    grid: Grid

    @property
    def nbytes(self) -> int:
        """Bytes of the features and the weights."""
        return self.features.nbytes + self.weights.nbytes

    @property
    def size(self) -> Grid:
        """The size (h, w) of a mask."""
        if self.kind == "channel":
            return 1, len(self.weights)
        height, width = (min(side, MOST_CELLS) for side in self.grid)
        return height, width

    @property
    def learned(self) -> Tensor:
        """The mask (h, w) that stands for the learned weights: the weights themselves, divided by
        the largest where that is more than 1 and for `pool`; of `volume` the mean over channels."""
        weights = self.weights.mean(0) if self.kind == "volume" else self.weights
        if self.kind == "pool" or weights.max() > 1:
            weights = weights / weights.max()
        size = (1, -1) if self.kind == "channel" else self.grid
        mask = weights.clamp(0, 1).reshape(1, 1, *size)
        same = mask.shape[2:] == self.size
        return (mask if same else interpolate(mask, self.size, mode="area"))[0, 0]


@dataclass(frozen=True, slots=True, eq=False)
class Grounds:
    """What one picture is painted on, by stage, and the `logits` (K,) with the learned weights."""

    stages: Mapping[str, PaintGround]
    logits: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self.logits.nbytes + sum(one.nbytes for one in self.stages.values())


@torch.no_grad()
def paint_grounds(network: Network, pixels: Tensor) -> Grounds:
    """What can be painted for a normalised picture (1, 3, H, W), in one forward pass: the stages
    with weights of positions, or else of channels.

    Raises InputError for a network that can't be run from a stage on.
    """
    if not network.resumable:
        raise InputError("not_from_stage")
    paths = network.feature_paths()
    with capture(network, paths.values()) as trace:
        logits = network(pixels)
    stages: dict[str, PaintGround] = {}
    for stage, path in paths.items():
        prefix = f"{network.path(stage)}."
        readings = (one for tap, one in trace.taps.items() if tap.startswith(prefix))
        if found := _paintable(readings):
            weights = found.weights[0].float().cpu()
            features = trace.outputs[path].clone()
            stages[stage] = PaintGround(stage, found.kind, features, weights, found.grid)
    return Grounds(stages, logits[0].float().cpu())


def _paintable(readings: Iterable[TapReading]) -> TapReading | None:
    """The first reading of the first kind in `PAINTABLE` that there is."""
    usable = [one for one in readings if one.kind in PAINTABLE]
    return min(usable, key=lambda one: PAINTABLE.index(one.kind), default=None)


def painted_weights(kind: Kind, weights: Tensor, mask: Tensor, grid: Grid) -> Tensor:
    """The weights (B, ...) that a `mask` (h, w) with values in [0, 1] stands for.

    `spatial` (B, H, W) and `volume` (B, C, H, W): the mask on the `grid` (H, W), alike in all
    channels; `channel` (B, C): the mask (1, C). There, 1 in the mask is 1, or the largest learned
    weight where that is more. `pool` (B, N): the mask divided by its sum, times the sum of the
    learned weights. A mask of another size is enlarged bilinearly. Raises InputError for `pool`
    where the mask is 0 everywhere.
    """
    size = (1, weights.shape[-1]) if kind == "channel" else grid
    values = mask[None, None].to(weights)
    if values.shape[2:] != size:
        values = interpolate(values, size, mode="bilinear", align_corners=False)
    if kind == "pool":
        if not values.any():
            raise InputError("paint_empty")
        return values.reshape(1, -1) / values.sum() * weights.sum(-1, keepdim=True)
    top = weights.flatten(1).amax(1).clamp(min=1).reshape(-1, *[1] * (weights.ndim - 1))
    laid = values.flatten() if kind == "channel" else values[0, 0]
    return (top * laid).expand_as(weights).contiguous()


def paint(network: Network, ground: PaintGround, mask: Tensor) -> AbstractContextManager[object]:
    """Inside the `with` the network runs with `mask` (h, w) in the place of the weights of one
    stage: see `painted_weights`. The attention of all other stages stays the network's own.

    Where a stage has several weights of that kind, the mask takes the place of those that run
    first.
    """
    prefix = f"{network.path(ground.stage)}."
    first: list[str] = []

    def change(path: str, kind: Kind, weights: Tensor) -> Tensor:
        if kind != ground.kind or not path.startswith(prefix):
            return weights
        first.append(path)
        return painted_weights(kind, weights, mask, ground.grid) if path == first[0] else weights

    return network.intervene(change)


@torch.inference_mode()
def painted_logits(network: Network, ground: PaintGround, mask: Tensor) -> Tensor:
    """The logits (K,) with `mask` (h, w) in the place of the weights of one stage, from that stage
    on. Raises InputError for `pool` where the mask is 0 everywhere."""
    with paint(network, ground, mask):
        return network(ground.features, ground.stage)[0].float().cpu()

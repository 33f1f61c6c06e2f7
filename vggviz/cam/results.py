"""What one pass gave: logits, raw maps and attention of a batch, and views of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from vggviz.cam.methods import METHODS
from vggviz.hooks import Finding
from vggviz.hooks.capture import TapReading
from vggviz.types import AttentionRecord, Error, Heatmap, Prediction, Ranked

__all__ = ["CAMs", "MapError", "heatmap", "prediction"]


class MapError(Error, ValueError):
    """A map that cannot be computed, of a network that is in order."""


@dataclass(frozen=True, slots=True, eq=False)
class CAMs:
    """What one pass gave: `logits` (B, K), the `targets` (T, B) that were explained, the taps'
    readings by path, raw maps (T, B, H, W) by (layer path, method), and `outputs` (B, ...) by the
    path of each module that was to be watched. `order` are the paths of layers and watched modules
    in the order in which they ran; `findings` what was found at each layer of a foreign network;
    `contributions` what each channel of a layer's output contributes to the score (T, B, C), for
    layers whose gradient of the class's own score was computed: see `Captured.contribution`."""

    logits: Tensor
    targets: Tensor
    taps: dict[str, TapReading]
    maps: dict[tuple[str, str], Tensor]
    outputs: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    order: tuple[str, ...] = ()
    findings: dict[str, tuple[Finding, ...]] = field(default_factory=dict[str, tuple[Finding, ...]])
    contributions: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def of(self, row: int) -> CAMs:
        """The results of one picture of the batch, as a batch of one: copies, which are not held
        in one block of memory with those of the other pictures, nor sent with them."""

        def one(values: Tensor, axis: int = 0) -> Tensor:
            return values.narrow(axis, row, 1).clone()

        return CAMs(
            one(self.logits),
            one(self.targets, 1),
            {path: replace(tap, weights=one(tap.weights)) for path, tap in self.taps.items()},
            {key: one(values, 1) for key, values in self.maps.items()},
            {path: one(values) for path, values in self.outputs.items()},
            self.order,
            {
                path: tuple(replace(found, weights=one(found.weights)) for found in several)
                for path, several in self.findings.items()
            },
            {path: one(values, 1) for path, values in self.contributions.items()},
        )

    def records(self, stage: str, path: str) -> tuple[AttentionRecord, ...]:
        """The first picture's attention at the layer `path`, for the stage of this name."""
        taps = (
            AttentionRecord(
                stage,
                reading.kind,
                reading.weights[0].detach().float().cpu(),
                reading.grid,
                reading.keys,
            )
            for tap, reading in self.taps.items()
            if tap.startswith(f"{path}.")
        )
        found = (replace(one.record(), stage=stage) for one in self.findings.get(path, ()))
        return (*taps, *found)


def heatmap(raw: Tensor, method: str, stage: str, target: int) -> Heatmap:
    """values = (raw − low) / (high − low), zeros where the map is flat."""
    raw = raw.float().cpu()
    low, high = float(raw.min()), float(raw.max())
    values = (raw - low) / (high - low) if high > low else torch.zeros_like(raw)
    return Heatmap(
        values, method, stage, target if METHODS[method].class_specific else None, low, high
    )


def prediction(logits: Tensor, labels: Sequence[str], multi_label: bool = False) -> Prediction:
    """The classes from the most probable down, by the softmax of logits (K,), or by their sigmoids
    where a picture can have several labels."""
    logits = logits.float().cpu()
    wide = logits.numpy().astype(np.float64)  # in NumPy: not every device of torch has float64
    if multi_label:
        shares = 1 / (1 + np.exp(-wide.clip(-700)))
    else:
        shares = np.exp(wide - wide.max())
        shares /= shares.sum()
    order = np.argsort(-shares, kind="stable").tolist()
    ranked = tuple(Ranked(index, labels[index], float(shares[index])) for index in order)
    return Prediction(logits, ranked)

"""What is seen of one network, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vggviz.cam import cams
from vggviz.evaluation.pictures import Batch
from vggviz.evaluation.result import GRADCAM, Spread
from vggviz.hooks.capture import TapReading, evaluating, intervene
from vggviz.metrics.localisation import contains, peak, spatial_views
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.networks import Network
from vggviz.platform.device import run_network
from vggviz.types import Kind

__all__ = ["Observer", "Seen"]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """All pictures of the data as one network saw them, n in all.

    `logits` (n, K); `replaced` the logits by replacement; `boxes` (n, 4) in pixels of the
    network's square; `hits` and `nowhere` (n,) by (stage, kind of map): whether the peak lies in
    the box, and whether there is none.
    """

    logits: Tensor
    replaced: dict[str, Tensor]
    boxes: Tensor | None
    hits: dict[tuple[str, str], Tensor]
    nowhere: dict[tuple[str, str], Tensor]
    spread: tuple[Spread, ...]


class Observer:
    """Collects what one network does with batches of pictures; `seen` puts it together.

    One pass with its gradients gives logits, attention and Grad-CAM for each picture's own
    class; then one pass for each of `replacements`, keys of `REPLACEMENTS`, where the network has
    attention. All randomness comes from `seed`, drawn batch by batch.
    """

    def __init__(self, model: Network, replacements: Sequence[str], seed: int) -> None:
        self.model = model
        self.stages = model.config.stages if len(model.attention) else model.stages
        self._paths = {stage: model.path(stage) for stage in self.stages}
        self._generators = {
            name: torch.Generator().manual_seed(seed)
            for name in (replacements if len(model.attention) else ())
        }
        self._logits: list[Tensor] = []
        self._replaced: dict[str, list[Tensor]] = {name: [] for name in self._generators}
        self._boxes: list[Tensor] = []
        self._hits: dict[tuple[str, str], list[Tensor]] = {}
        self._nowhere: dict[tuple[str, str], list[Tensor]] = {}
        self._spread: dict[tuple[str, Kind], list[Tensor]] = {}

    @property
    def passes(self) -> int:
        """How many forward passes each picture takes."""
        return 1 + len(self._generators)

    def see(self, batch: Batch, targets: Tensor) -> None:
        """Look at a batch whose classes are `targets` (B,), as outputs of the network."""
        layers = list(self._paths.values()) if batch.boxes is not None else []
        result = cams(self.model, batch.images, layers, (GRADCAM,), targets[None])
        self._logits.append(result.logits)
        size = (batch.images.shape[-2], batch.images.shape[-1])
        for stage, path in self._paths.items():
            for tap, reading in result.taps.items():
                if tap.startswith(f"{path}."):
                    self._measure(stage, reading)
            if batch.boxes is not None:
                for kind, view in spatial_views(result.taps, path).items():
                    self._point(stage, kind, peak(view, size), batch.boxes)
                points = peak(result.maps[path, GRADCAM][0], size)
                self._point(stage, GRADCAM, points, batch.boxes)
        if batch.boxes is not None:
            self._boxes.append(batch.boxes)
        for name in self._generators:
            self._replaced[name].append(self._with(name, batch.images))

    def seen(self) -> Seen:
        """All batches so far."""
        return Seen(
            logits=torch.cat(self._logits),
            replaced={name: torch.cat(parts) for name, parts in self._replaced.items()},
            boxes=torch.cat(self._boxes) if self._boxes else None,
            hits={key: torch.cat(parts) for key, parts in self._hits.items()},
            nowhere={key: torch.cat(parts) for key, parts in self._nowhere.items()},
            spread=tuple(
                _spread(stage, kind, torch.cat(parts, 1))
                for (stage, kind), parts in self._spread.items()
            ),
        )

    def _with(self, name: str, images: Tensor) -> Tensor:
        """The logits with other weights at all stages."""
        replacement, generator = REPLACEMENTS[name], self._generators[name]

        def change(_: str, kind: Kind, weights: Tensor) -> Tensor:
            return replacement(kind, weights, generator)

        with evaluating(self.model), intervene(self.model, change), torch.no_grad():
            return run_network(self.model, images)

    def _point(self, stage: str, kind: str, points: Tensor, boxes: Tensor) -> None:
        self._hits.setdefault((stage, kind), []).append(contains(boxes, points))
        self._nowhere.setdefault((stage, kind), []).append(points.isnan().any(1))

    def _measure(self, stage: str, reading: TapReading) -> None:
        """Of each picture the smallest and largest weight, mean and standard deviation: (4, B)."""
        flat = reading.weights.flatten(1)
        low, high = flat.aminmax(dim=1)
        numbers = torch.stack((low, high, flat.mean(1), flat.std(1, correction=0)))
        self._spread.setdefault((stage, reading.kind), []).append(numbers)


def _spread(stage: str, kind: Kind, numbers: Tensor) -> Spread:
    low, high, mean, deviation = numbers.double()  # (n,) each
    return Spread(
        stage,
        kind,
        float(low.min()),
        float(high.max()),
        float(mean.mean()),
        float(deviation.mean()),
    )

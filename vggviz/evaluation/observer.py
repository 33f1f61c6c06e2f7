"""Collects predictions, attention and peaks of maps of one network, batch by batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vggviz.cam import cams
from vggviz.evaluation.attention import named_records
from vggviz.evaluation.pictures import Pictures
from vggviz.evaluation.result import GRADCAM, Spread
from vggviz.hooks.capture import evaluating
from vggviz.metrics.localisation import contains, peak
from vggviz.metrics.replacement import change_to
from vggviz.networks import Network
from vggviz.platform.device import run_network

__all__ = ["Observations", "Observer"]


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """The outputs and maps of one network on n pictures.

    `logits` (n, K); `replaced` the logits with replaced attention weights, by replacement; `boxes`
    (n, k, 4) in pixels of the network's input, zeros for none; `hits` and `nowhere` (n,) by
    (stage, name of map): whether the map's peak lies in a box, and whether the map has no peak;
    `spread` the range of attention weights.
    """

    logits: Tensor
    replaced: Mapping[str, Tensor]
    boxes: Tensor | None
    hits: Mapping[tuple[str, str], Tensor]
    nowhere: Mapping[tuple[str, str], Tensor]
    spread: tuple[Spread, ...]


class Observer:
    """Runs one network on batches of pictures and collects its `Observations`.

    One pass with its gradients gives logits, attention and Grad-CAM for each picture's own
    class; then one pass for each of `replacements`, keys of `REPLACEMENTS`, where the network has
    attention. All randomness comes from `seed`, drawn batch by batch.
    """

    def __init__(self, model: Network, replacements: Sequence[str], seed: int) -> None:
        self.model = model
        self.stages = tuple(s for s in model.stages if s in model.attention) or model.stages
        self._paths = {stage: model.path(stage) for stage in self.stages}
        self._generators = {
            name: torch.Generator().manual_seed(seed)
            for name in (replacements if len(model.attention) else ())
        }
        self._logits: list[Tensor] = []
        self._boxes: list[Tensor] = []
        self._replaced = defaultdict[str, list[Tensor]](list)
        self._peaks = defaultdict[tuple[str, str], list[Tensor]](list)
        self._numbers = defaultdict[tuple[str, str], list[Tensor]](list)

    @property
    def passes(self) -> int:
        """How many forward passes each picture takes."""
        return 1 + len(self._generators)

    def observe(self, pictures: Pictures, targets: Tensor) -> None:
        """Run a batch whose classes are `targets` (B,), as outputs of the network."""
        images, boxes = pictures.images, pictures.boxes
        methods = () if boxes is None else (GRADCAM,)
        result = cams(self.model, images, [*self._paths.values()], methods, targets[None])
        self._logits.append(result.logits)
        maps = {stage: defaultdict[str, list[Tensor]](list) for stage in self.stages}
        for stage, name, record, position_map in named_records(result, self._paths):
            flat = record.weights.flatten().double()
            numbers = (*flat.aminmax(), flat.mean(), flat.std(correction=0))
            self._numbers[stage, name].append(torch.stack(numbers))
            if position_map is not None:
                maps[stage][name].append(position_map)
        if boxes is not None:
            self._boxes += boxes.unbind()
            size = (images.shape[-2], images.shape[-1])
            for stage, path in self._paths.items():
                maps[stage][GRADCAM] = list(result.maps[path, GRADCAM][0])
                for name, several in maps[stage].items():
                    self._peaks[stage, name].append(peak(torch.stack(several), size))
        for name, generator in self._generators.items():
            self._replaced[name].append(self._logits_with(name, generator, images))

    def observations(self) -> Observations:
        """The observations of all batches so far."""
        boxes = pad_sequence(self._boxes, batch_first=True) if self._boxes else None
        peaks = {key: torch.cat(parts) for key, parts in self._peaks.items()}
        return Observations(
            logits=torch.cat(self._logits),
            replaced={name: torch.cat(parts) for name, parts in self._replaced.items()},
            boxes=boxes,
            hits={} if boxes is None else {key: contains(boxes, p) for key, p in peaks.items()},
            nowhere={key: points.isnan().any(1) for key, points in peaks.items()},
            spread=tuple(
                _spread(stage, name, torch.stack(parts, 1))
                for (stage, name), parts in self._numbers.items()
            ),
        )

    def _logits_with(self, name: str, generator: torch.Generator, images: Tensor) -> Tensor:
        """The logits (B, K) with replaced attention weights at all stages."""
        change = change_to(name, generator, self.model.key_positions())
        with torch.no_grad(), evaluating(self.model), self.model.intervene(change):
            return run_network(self.model, images)


def _spread(stage: str, name: str, numbers: Tensor) -> Spread:
    """The spread from `numbers` (4, n): smallest weight, largest weight, mean and standard
    deviation of each picture."""
    low, high, mean, deviation = numbers
    return Spread(
        stage,
        name,
        float(low.min()),
        float(high.max()),
        float(mean.mean()),
        float(deviation.mean()),
    )

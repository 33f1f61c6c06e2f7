"""What one pass captured, and what each kind of method is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vggviz.cam.gradients import Point
from vggviz.cam.interface import logits_of
from vggviz.cam.methods import Method, Score
from vggviz.hooks import Finding
from vggviz.hooks.capture import TapReading, replace_output
from vggviz.hooks.survey import FeatureMap
from vggviz.hooks.tapped import Tapped
from vggviz.networks import Network

__all__ = ["Captured"]

LEAST = 32  # pixels a side that each network of vggviz takes


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """One pass of `model` over `images` (B, 3, H, W) for `targets` (T, B).

    `outputs` (B, ...) by layer in the order in which they ran, detached, and how often each ran in
    `runs`; `layouts` of those that are no (B, C, h, w); `gradients` (T, B, ...) by score and point;
    `curvatures` (T, B, ...) by score and layer; by layer the point of the attention over positions
    in it, and `readings` by point; `stages`, the layers that methods on several layers combine.
    """

    model: nn.Module
    images: Tensor
    targets: Tensor
    outputs: Mapping[str, Tensor]
    runs: Mapping[str, int]
    layouts: Mapping[str, FeatureMap | None]
    gradients: Mapping[Score, Mapping[Point, Tensor]]
    curvatures: Mapping[Score, Mapping[str, Tensor]]
    weighing: Mapping[str, Point]
    readings: Mapping[Point, TapReading | Finding]
    stages: Sequence[str]

    def map_of(
        self, method: Method, layer: str, progress: Callable[[int, int], None]
    ) -> Tensor | None:
        """The raw maps (T, B, h, w) of a method at a layer; None for one that needs attention
        where there is none."""
        slopes = self.gradients[method.score]

        def output(layer: str) -> Tensor:
            return widened(self._as_map(layer, self.outputs[layer]))

        def slope(layer: str) -> Tensor:
            return widened(self._as_map(layer, slopes[layer]))

        if method.needs == "attention":
            return self._on_attention(method, layer, slopes) if layer in self.weighing else None
        if method.slow:
            return self._pass_by_pass(method, layer, progress)
        if method.needs == "activation":
            return method.function(output(layer)).expand(len(self.targets), -1, -1, -1)
        if method.needs == "layers":
            order = list(self.outputs)
            later = [one for one in order[order.index(layer) + 1 :] if one in self.stages]
            return method.function([*map(output, (layer, *later))], [*map(slope, (layer, *later))])
        curved = self.curvatures.get(method.score, {}) if method.needs == "curvature" else {}
        more = [widened(self._as_map(layer, curved[layer]))] if layer in curved else []
        return method.function(output(layer), slope(layer), *more)

    def contribution(self, layer: str, score: Score) -> Tensor:
        """Σ_n a_cn ∂z_k/∂a_cn, the first-order share of each channel c of a layer's output a in the
        score z_k of each target k: (T, B, C). A channel that is 0 everywhere contributes 0."""
        output = widened(self._as_map(layer, self.outputs[layer]))
        slope = widened(self._as_map(layer, self.gradients[score][layer]))
        return torch.einsum("bchw,tbchw->tbc", output, slope)

    def _as_map(self, layer: str, values: Tensor) -> Tensor:
        """(..., C, h, w) of a layer's output or its gradient."""
        layout = self.layouts.get(layer)
        return values if layout is None else layout.to_map(values)

    def _on_attention(self, method: Method, layer: str, slopes: Mapping[Point, Tensor]) -> Tensor:
        point = self.weighing[layer]
        reading = self.readings[point]
        positions = reading.place.layout.positions if isinstance(reading, Finding) else None
        more = {} if positions is None else {"positions": positions}
        weights, grid = widened(reading.weights.detach()), reading.keys or reading.grid
        return method.function(weights, widened(slopes[point]), reading.kind, grid, **more)

    def _pass_by_pass(
        self, method: Method, layer: str, progress: Callable[[int, int], None]
    ) -> Tensor:
        """Picture by picture, for methods that run the network themselves."""
        found: list[Tensor] = []
        outputs, images = self._as_map(layer, self.outputs[layer]), self.images
        link = isinstance(self.model, Network) and self.model.is_link(layer)
        if method.needs == "ablation" and link and not _has_code(self.model):
            images = images[..., :LEAST, :LEAST]  # what comes before the layer is of no account
        for image, output, targets in zip(images, outputs, self.targets.T, strict=True):
            run = (
                self._predict
                if method.needs == "passes"
                else partial(self._resume, layer, image, link)
            )
            found.append(method.function(run, image, output, targets, progress=progress))
        return torch.stack(found, 1)  # B × (T, h, w) -> (T, B, h, w)

    def _predict(self, images: Tensor) -> Tensor:
        return logits_of(self.model(images), len(images))

    def _resume(self, layer: str, image: Tensor, link: bool, features: Tensor) -> Tensor:
        """Logits (b, K) for outputs of a layer (b, C, h, w) in the place of its own; where it is a
        `link`, what comes before it runs for one picture only."""
        count, layout = len(features), self.layouts.get(layer)
        left = self.runs[layer]

        def laid(own: Tensor) -> Tensor:
            nonlocal left
            left -= 1
            if left:  # only what the module returns last is the layer's output
                return own
            if layout is None:
                return features
            own = own.clone()
            layout.to_map(own).copy_(features)  # a view: tokens without a position stay
            return own

        with replace_output(self.model, layer, laid):
            images = image.expand(1 if link else count, -1, -1, -1)
            return logits_of(self.model(images), count)


def _has_code(model: nn.Module) -> bool:
    """Whether there is attention of the user's own, which may take features of one size only."""
    return any(isinstance(module, Tapped) for module in model.modules())


def widened(values: Tensor) -> Tensor:
    """16-bit floats as float32, since their sums would be rounded to 16 bits once more."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values

"""One network to be judged on some pictures, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn

from vggviz.cam import cams
from vggviz.hooks.capture import evaluating
from vggviz.metrics.localisation import spatial_views
from vggviz.metrics.statistics import Estimate, bootstrap
from vggviz.networks import Network
from vggviz.platform.device import run_network

__all__ = ["CURVES", "Example", "Job", "Part", "Pictures", "Row", "View"]

CURVES = 24  # pictures for metrics that take hundreds of passes each
View = tuple[str, str]  # stage, and a kind of attention or a CAM method
Sure = tuple[float | None, float | None, float | None, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One number: `measure` of `map` at `stage` of `network`, and what it was measured `against`.

    `value` is the mean over `count` pictures and [`low`, `high`] its 95% interval; all None where
    no picture has a value. What does not apply is ''.
    """

    metric: str
    network: str
    stage: str
    map: str
    measure: str
    against: str
    value: float | None
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True)
class Example:
    """One picture with a map over it: a PNG in base64, and what makes it an example."""

    metric: str
    network: str
    title: str
    picture: str
    png: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one metric found of one network; `notes` say what could not be measured."""

    rows: tuple[Row, ...]
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """n pictures of one preprocessing: `images` (n, 3, S, S), `targets` (n,) outputs of the
    network, `boxes` (n, 4) in pixels of the square or None, `names` for people."""

    images: Tensor
    targets: Tensor
    boxes: Tensor | None
    names: tuple[str, ...]

    def first(self, count: int) -> Pictures:
        """The first `count` of them."""
        boxes = None if self.boxes is None else self.boxes[:count]
        return Pictures(self.images[:count], self.targets[:count], boxes, self.names[:count])


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One network and all that a metric needs to judge its maps.

    `training` are pictures with boxes to choose thresholds on, `other` the same network of
    another seed; None where there is none. `curves` is how many pictures metrics of many passes
    take; `draw` makes a picture (3, S, S) and its map (h, w) a PNG in base64.
    """

    name: str
    model: Network
    pictures: Pictures
    training: Pictures | None
    other: Network | None
    stages: tuple[str, ...]
    methods: tuple[str, ...]
    curves: int
    seed: int
    resamples: int
    batch: int
    draw: Callable[[Tensor, Tensor], str]

    def generator(self) -> torch.Generator:
        """Fresh randomness, the same for every metric and network."""
        return torch.Generator().manual_seed(self.seed)

    def likeliest(self, pictures: Pictures) -> Tensor:
        """The class that the network says of each picture: (n,)."""
        with evaluating(self.model), torch.no_grad():
            logits = [run_network(self.model, part) for part in pictures.images.split(self.batch)]
        return torch.cat(logits).argmax(1)

    def views(
        self, pictures: Pictures, targets: Tensor, model: nn.Module | None = None
    ) -> dict[View, Tensor]:
        """The maps (n, h, w) of every method and kind of attention at every stage, of the network
        or of another `model` that is built alike."""
        found: dict[View, list[Tensor]] = {}
        for images, classes in _parts(self.batch, pictures.images, targets):
            for view, maps in self._look(model or self.model, images, classes):
                found.setdefault(view, []).append(maps)
        return {view: torch.cat(parts) for view, parts in found.items()}

    def rows(
        self,
        metric: str,
        view: View,
        columns: Mapping[str, Tensor],
        against: str = "",
    ) -> list[Row]:
        """A row for each measure's values over pictures (n,), NaN where a picture has none."""
        stage, map = view
        return [
            Row(metric, self.name, stage, map, measure, against, value, low, high, count)
            for measure, (value, low, high, count) in zip(
                columns, self._estimates(columns), strict=True
            )
        ]

    def extremes(
        self, metric: str, title: str, pictures: Pictures, maps: Tensor, values: Tensor
    ) -> list[Example]:
        """The three best and the three worst pictures by `values` (n,), with their maps."""
        known = values.isfinite().nonzero()[:, 0]
        order = known[values[known].argsort(descending=True, stable=True)].tolist()
        best, worst = order[:3], order[3:][-3:]
        return [
            Example(
                metric,
                self.name,
                f"{word}: {title} {float(values[index]):.2f}".replace("-", "−"),
                pictures.names[index],
                self.draw(pictures.images[index], maps[index]),
            )
            for word, indices in (("best", best), ("worst", worst))
            for index in indices
        ]

    def _estimates(self, columns: Mapping[str, Tensor]) -> list[Sure]:
        """Value, low, high and count of each column, without its gaps."""
        found: list[Sure] = []
        whole = {name: values for name, values in columns.items() if not values.isnan().any()}
        shared = iter(self._bootstrap(torch.stack(list(whole.values()), 1)) if whole else ())
        for name, values in columns.items():
            known = values[~values.isnan()]
            if name in whole:  # all in one resampling, which is most of the work
                found.append((*astuple(next(shared)), len(known)))
            elif len(known):
                found.append((*astuple(self._bootstrap(known[:, None])[0]), len(known)))
            else:
                found.append((None, None, None, 0))
        return found

    def _bootstrap(self, columns: Tensor) -> list[Estimate]:
        return bootstrap(columns, self.generator(), resamples=self.resamples)

    def _look(
        self, model: nn.Module, images: Tensor, classes: Tensor
    ) -> Iterator[tuple[View, Tensor]]:
        paths = {stage: self.model.path(stage) for stage in self.stages}
        result = cams(model, images, list(paths.values()), self.methods, classes[None])
        for stage, path in paths.items():
            for kind, view in spatial_views(result.taps, path).items():
                yield (stage, kind), view
            for method in self.methods:
                if (path, method) in result.maps:
                    yield (stage, method), result.maps[path, method][0]


def _parts(size: int, *tensors: Tensor) -> Iterator[Sequence[Tensor]]:
    yield from zip(*(tensor.split(size) for tensor in tensors), strict=True)

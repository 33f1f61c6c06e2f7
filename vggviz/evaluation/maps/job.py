"""What metrics of maps take and return: a network with its pictures, and rows of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vggviz.cam import cams
from vggviz.evaluation.attention import named_records
from vggviz.evaluation.pictures import Pictures
from vggviz.evaluation.run import Subject
from vggviz.hooks.capture import evaluating
from vggviz.inline import data_uri
from vggviz.metrics.statistics import bootstrap, bootstrap_pooled
from vggviz.networks import Network
from vggviz.platform.device import run_network
from vggviz.plotting import overlay, stretch

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["CURVES", "Example", "Job", "MapKey", "MapMetric", "Part", "Row"]

SIDE = 160  # of an example, in pixels
CURVES = 24  # pictures for metrics that take hundreds of passes each
MapKey = tuple[str, str]  # stage, and a kind of attention (see `named_records`) or a CAM method


@dataclass(frozen=True, slots=True)
class Row:
    """One number: `measure` of `map` at `stage` of `network`, and what it was measured `against`.

    `value` is the mean over `count` pictures, or that of all their pixels together, and [`low`,
    `high`] its 95% interval; all None where no picture has a value. What does not apply is ''.
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
    """The results of one metric for one network; `notes` say what could not be measured."""

    rows: tuple[Row, ...]
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MapMetric:
    """A metric of maps: `measure` computes it, `caption` says in a sentence what its `table` shows,
    and `plot` draws it; both take the metric's rows as a frame with the fields of `Row`.

    `depends_on` names the fields of `Job` that only some metrics depend on: 'other', 'training',
    'curves' and 'batch'.
    """

    measure: Callable[[Job], Part]
    caption: str
    table: Callable[[DataFrame], DataFrame]
    plot: Callable[[DataFrame], Figure]
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One network and all that a `metric` needs to measure its maps.

    The targets of `pictures` are indices of the network's outputs. `training` are pictures with
    boxes to choose thresholds on, `other` the same network of another seed; None where there is
    none. `curves` is how many pictures metrics of many passes take.
    """

    metric: str
    name: str
    subject: Subject
    pictures: Pictures
    training: Pictures | None
    other: Network | None
    stages: tuple[str, ...]
    methods: tuple[str, ...]
    curves: int
    seed: int
    resamples: int
    batch: int

    @property
    def model(self) -> Network:
        """The network."""
        return self.subject.model

    def generator(self) -> torch.Generator:
        """A new generator from `seed`, the same for every metric and network."""
        return torch.Generator().manual_seed(self.seed)

    def few_pictures(self) -> Pictures:
        """The first `curves` pictures."""
        return self.pictures.at(torch.arange(len(self.pictures.names))[: self.curves])

    def logits(self, pictures: Pictures) -> Tensor:
        """The network's logits (n, K)."""
        with evaluating(self.model), torch.no_grad():
            parts = pictures.images.split(self.batch)
            return torch.cat([run_network(self.model, part) for part in parts])

    def maps(
        self, pictures: Pictures, targets: Tensor, model: nn.Module | None = None
    ) -> dict[MapKey, Tensor]:
        """The maps (n, h, w) of every method, and of attention with a weight for every position, at
        every stage, of the network or of another `model` with the same architecture."""
        model = model or self.model
        paths = {stage: self.model.path(stage) for stage in self.stages}
        found: dict[MapKey, list[Tensor]] = {}
        batches = zip(pictures.images.split(self.batch), targets.split(self.batch), strict=True)
        for images, classes in batches:
            result = cams(model, images, [*paths.values()], self.methods, classes[None])
            for stage, name, _, position_map in named_records(result, paths):
                if position_map is not None:
                    found.setdefault((stage, name), []).append(position_map)
            for stage, path in paths.items():
                for method in self.methods:
                    if (path, method) in result.maps:
                        found.setdefault((stage, method), []).extend(result.maps[path, method][0])
        order = {stage: rank for rank, stage in enumerate(self.stages)}
        keys = sorted(found, key=lambda key: order[key[0]])
        return {key: torch.stack(found[key]) for key in keys}

    def rows(self, view: MapKey, columns: Mapping[str, Tensor], against: str = "") -> list[Row]:
        """A row for each measure's values over pictures (n,), NaN where a picture has none."""
        rows: list[Row] = []
        for measure, values in columns.items():
            known = values[~values.isnan()]
            value: float | None = None
            low: float | None = None
            high: float | None = None
            if len(known):
                (one,) = bootstrap(known[:, None], self.generator(), resamples=self.resamples)
                value, low, high = one.value, one.low, one.high
            key = (self.metric, self.name, *view, measure, against)
            rows.append(Row(*key, value, low, high, len(known)))
        return rows

    def pooled_row(
        self, view: MapKey, measure: str, counts: Tensor, statistic: Callable[[Tensor], Tensor]
    ) -> Row:
        """The row of a measure of counts (n, …) that are summed over pictures, n > 0."""
        draws = self.generator()
        one = bootstrap_pooled(counts, statistic, draws, resamples=self.resamples)
        key = (self.metric, self.name, *view, measure, "")
        return Row(*key, one.value, one.low, one.high, len(counts))

    def extremes(
        self, title: str, pictures: Pictures, maps: Tensor, values: Tensor
    ) -> tuple[Example, ...]:
        """The three best and the three worst pictures by `values` (n,), with their maps."""
        known = values.isfinite().nonzero()[:, 0]
        order = known[values[known].argsort(descending=True, stable=True)].tolist()
        best_and_worst = [("best", k) for k in order[:3]] + [("worst", k) for k in order[3:][-3:]]
        examples: list[Example] = []
        for word, k in best_and_worst:
            pixels = self.subject.card.preprocess.denormalise(pictures.images[k])
            small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            overlaid = overlay(np.asarray(small), stretch(maps[k].numpy())[0])
            heading = f"{word}: {title} {float(values[k]):.2f}".replace("-", "−")
            code = data_uri(overlaid, "png").partition(",")[2]
            examples.append(Example(self.metric, self.name, heading, pictures.names[k], code))
        return tuple(examples)

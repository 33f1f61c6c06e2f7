"""The results of an evaluation, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vggviz.metrics.statistics import Estimate

__all__ = [
    "GRADCAM",
    "PUBLISHED",
    "SUBSETS",
    "Cost",
    "Difference",
    "Evaluation",
    "Pointing",
    "Result",
    "Spread",
    "Subset",
    "View",
]

# Subsets of pictures for the pointing game: all with a box, those whose box misses the centre of
# the picture, and those whose box covers at most a third of it.
SUBSETS = ("all", "off_centre", "small")
GRADCAM = "gradcam"
PUBLISHED = (
    "Published, to compare with: SE in VGG16 on ImageNet gains 1.8 points of top-1; CBAM or SE in "
    "VGG19 on CIFAR-10 gains 0.4 to 0.8."
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one picture costs: `multiply_adds` of convolutions and matrix products, `latency` in
    seconds, and its `ratio` to the reference's in the same rounds (None for the reference)."""

    parameters: int
    multiply_adds: int
    latency: Estimate
    ratio: Estimate | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference in top-1 accuracy of two sets of predictions for the same pictures: `points`
    as a share, `better` and `worse` the numbers of pictures that only the first, only the second
    got right, `p` McNemar's exact test."""

    points: Estimate
    better: int
    worse: int
    p: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The range of attention weights: `low`, `high` and `mean` over all pictures, and `within`, the
    mean over pictures of the standard deviation inside a picture. `kind` is that of the records,
    'spatial_2' for the second of its kind at the stage."""

    stage: str
    kind: str
    low: float
    high: float
    mean: float
    within: float


@dataclass(frozen=True, slots=True)
class Subset:
    """A subset of pictures for the pointing game: `chance` is the mean share of the picture that
    boxes cover, `centre` the share of boxes that contain the centre of the picture."""

    count: int
    chance: float
    centre: float


@dataclass(frozen=True, slots=True)
class View:
    """The pointing game of one map: `rates` are how often its peak lies in the box, by subset.
    `kind` is as in `Spread`, or 'gradcam'; `nowhere` counts maps without a peak, which count as
    misses."""

    stage: str
    kind: str
    rates: Mapping[str, Estimate]
    nowhere: int


@dataclass(frozen=True, slots=True)
class Pointing:
    """The pointing game of one network. `best` is by subset the stage with the highest rate of
    'attention' (no entry where no attention is a map) and of 'gradcam'; `over_gradcam` is the
    paired difference between the rates at these two stages."""

    subsets: Mapping[str, Subset]
    views: tuple[View, ...]
    best: Mapping[str, Mapping[str, str]]
    over_gradcam: Mapping[str, Estimate]

    def best_view(self, group: str, subset: str) -> View | None:
        """The view of `group`, 'attention' or 'gradcam', at its best stage; None without one."""
        for view in self.views:
            in_group = (view.kind == GRADCAM) == (group == GRADCAM)
            if in_group and view.stage == self.best.get(subset, {}).get(group):
                return view
        return None


@dataclass(frozen=True, slots=True)
class Result:
    """All that was measured of one network. Shares lie in [0, 1].

    `top5` is None for a network of five classes or fewer, which can't miss it.
    `against` compares top-1 with the reference (None for the reference itself); `use` compares
    it, by replacement, with the network's own after its weights were replaced at all stages, so
    that `points` are those lost; `pointing` is None where the data has no boxes.
    """

    weights: str
    fingerprint: str
    attention: str
    stages: tuple[str, ...]
    gammas: Mapping[str, float]
    cost: Cost
    top1: Estimate
    top5: Estimate | None
    calibration: Estimate
    against: Difference | None
    use: Mapping[str, Difference]
    pointing: Pointing | None
    spread: tuple[Spread, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results by name, all on the same pictures; `reference` is one of the names.

    `classes` is how many classes the pictures have. `unreadable` names the files that were left
    out, `unknown` the classes that not every network knows, with their numbers of pictures.
    """

    reference: str
    pictures: int
    classes: int
    unreadable: tuple[str, ...]
    seed: int
    resamples: int
    rounds: int
    results: Mapping[str, Result]
    unknown: Mapping[str, int] = field(default_factory=dict[str, int])

    def to_json(self) -> dict[str, Any]:
        """Everything, for `json.dumps`."""
        return {**asdict(self), "anchors": PUBLISHED}

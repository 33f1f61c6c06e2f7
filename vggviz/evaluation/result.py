"""The results of an evaluation, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vggviz.metrics.statistics import Estimate

__all__ = [
    "ANCHORS",
    "GRADCAM",
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

# Which pictures pointing is counted on: all with a box, those whose box misses the middle of the
# picture, and those whose box covers at most a third of it.
SUBSETS = ("all", "off_centre", "small")
GRADCAM = "gradcam"
ANCHORS = (
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
    """Top-1 against another set of answers for the same pictures: `points` is the difference as
    a share, `better` and `worse` count the pictures that only one got right, `p` is McNemar's."""

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
    """The pictures that pointing is counted on: `chance` is their boxes' mean share of the
    picture, `centre` the share of boxes that the middle of the picture hits."""

    count: int
    chance: float
    centre: float


@dataclass(frozen=True, slots=True)
class View:
    """How often the peak of one map lies in the box, by subset. `kind` is as in `Spread`, or
    'gradcam'; `nowhere` counts maps without a peak, which are never a hit."""

    stage: str
    kind: str
    rates: Mapping[str, Estimate]
    nowhere: int


@dataclass(frozen=True, slots=True)
class Pointing:
    """The pointing game of one network, by subset. `best` is the stage with the highest rate there
    for 'attention' (no entry where no map has positions) and for 'gradcam', each on its own;
    `over_gradcam` is the paired difference between these two."""

    subsets: Mapping[str, Subset]
    views: tuple[View, ...]
    best: Mapping[str, Mapping[str, str]]
    over_gradcam: Mapping[str, Estimate]

    def best_view(self, of: str, subset: str) -> View | None:
        """The view of 'attention' or 'gradcam' at its best stage; None where there is none."""
        for view in self.views:
            mine = (view.kind == GRADCAM) == (of == GRADCAM)
            if mine and view.stage == self.best.get(subset, {}).get(of):
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
        return {**asdict(self), "anchors": ANCHORS}

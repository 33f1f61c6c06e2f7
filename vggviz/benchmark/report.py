"""The results of one run: timings, ratios within the run, and their table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pandas import DataFrame

from vggviz.benchmark.cases import BARE, CASES
from vggviz.benchmark.measures import MEASURES, MeasureValues
from vggviz.platform.machine import Machine
from vggviz.platform.timing import Interval
from vggviz.tables import markdown

__all__ = ["Report", "Timing", "table"]

ENOUGH = 6  # values for an interval of 95%: 2 · 2⁻⁶ ≤ 5%
NOISY_SPREAD = 0.10  # of the bare forward: interquartile range / median
NOISY_LOAD = 0.25  # running processes per core, before the run


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one case took in each round, in seconds."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of all rounds."""
        return statistics.median(self.seconds)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the median lies with a confidence of 95%."""
        return Interval.of(self.seconds)[1:]


@dataclass(frozen=True, slots=True)
class Report:
    """The timings of one run by case, the values of measures by name, and the names of those whose
    library is not installed."""

    machine: Machine
    size: int
    width: float
    timings: Mapping[str, Timing]
    missing: tuple[str, ...] = ()
    measured: Mapping[str, MeasureValues] = field(default_factory=dict[str, MeasureValues])

    def ratio(self, name: str, to: str = BARE) -> Interval:
        """How many times longer `name` took for a picture than `to`: the median of the rounds'
        own ratios."""
        pairs = zip(self.timings[name].seconds, self.timings[to].seconds, strict=True)
        share = CASES[to].images / CASES[name].images
        return Interval.of([a / b * share for a, b in pairs])

    @property
    def spread(self) -> float:
        """Interquartile range / median of the bare forward pass; 0 for a single round."""
        seconds = self.timings[BARE].seconds
        if len(seconds) < 2:
            return 0.0
        first, middle, third = statistics.quantiles(seconds, n=4, method="inclusive")
        return (third - first) / middle

    @property
    def noisy(self) -> bool:
        """Whether something else kept the machine busy, so that the numbers are of less worth."""
        busy = (self.machine.load or 0.0) > NOISY_LOAD * self.machine.cores
        return busy or self.spread > NOISY_SPREAD

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON types: all seconds of all rounds, medians, intervals and ratios."""
        return {
            "machine": asdict(self.machine),
            "state": "noisy" if self.noisy else "quiet",
            "spread": self.spread,
            "size": self.size,
            "width": self.width,
            "rounds": len(self.timings[BARE].seconds),
            "cases": {
                name: {
                    "label": CASES[name].label,
                    "stages": list(CASES[name].stages),
                    "images": CASES[name].images,
                    "targets": CASES[name].targets,
                    "seconds": list(timing.seconds),
                    "median": timing.median,
                    "interval": list(timing.interval),
                    "ratios": {
                        other: self.ratio(name, other)._asdict()
                        for other in (BARE, CASES[name].like)
                        if other in self.timings
                    },
                }
                for name, timing in self.timings.items()
            },
            "missing": list(self.missing),
            "measured": {name: found.to_json() for name, found in self.measured.items()},
        }


def table(report: Report) -> str:
    """The report as Markdown: a line a case, a line a measure, then the machine and its state."""
    sure = "95%" if len(report.timings[BARE].seconds) >= ENOUGH else "range"
    rows: list[tuple[str, ...]] = []
    for name, case in CASES.items():
        stages = str(len(case.stages) or "")
        if name in report.missing:
            rows.append((case.label, stages, "not installed", *[""] * 5))
        elif name in report.timings:
            seconds = Interval.of(report.timings[name].seconds)
            bare, like = _ratio(report, name, BARE), _ratio(report, name, case.like)
            rows.append((case.label, stages, *_cells(seconds, 3), *bare, *like))
    head = ["", "stages", "seconds", sure, "× bare", sure, "× like", sure]
    parts = [markdown(DataFrame(rows, columns=head))]
    rows = []
    for name, measure in MEASURES.items():
        if name in report.missing:
            rows.append((measure.label, "not installed", "", "", measure.aim))
        elif name in report.measured:
            found = report.measured[name]
            median, low, high, most = map(_number, (*found.interval, found.p95))
            rows.append((found.label, f"{median} {found.unit}", f"{low}–{high}", most, found.aim))
    if rows:
        head = ["", "median", "95%", "95% of them within", "aim"]
        parts.append(markdown(DataFrame(rows, columns=head)))
    return "\n\n".join([*parts, "\n".join(_notes(report))])


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _ratio(report: Report, name: str, to: str) -> tuple[str, str]:
    """Two cells, empty where there is nothing to compare with."""
    return _cells(report.ratio(name, to), 2) if to in report.timings and to != name else ("", "")


def _cells(interval: Interval, digits: int) -> tuple[str, str]:
    median, low, high = (f"{value:.{digits}f}" for value in interval)
    return median, f"{low}–{high}"


def _notes(report: Report) -> list[str]:
    machine = report.machine
    rounds = len(report.timings[BARE].seconds)
    load = "unknown" if machine.load is None else f"{machine.load:.2f}"
    return [
        f"VGG19, width {report.width:g}, random weights, fp32 and batch 1 where nothing else is "
        f"said, {report.size} px; Grad-CAM at the last ReLU of block5, or of all five blocks.",
        f"Medians of {rounds} rounds; each ratio is the median of the rounds' own, for a picture, "
        "to the plain bare forward (contiguous, no attention), or to what is alike: other "
        "libraries to vggviz on the same stages, vggviz in bfloat16 to torchcam, a batch of ours "
        "to one picture (1 where the cost grows linearly).",
        f"{machine}.",
        f"{'Noisy' if report.noisy else 'Quiet'} machine: the bare forward's interquartile range "
        f"is {report.spread:.0%} of its median, and the 1-minute load before was {load}.",
    ]

"""What was measured: timings, ratios within one run, and the table of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from vggviz.bench.cases import BARE, CASES
from vggviz.machine import Machine

__all__ = ["Interval", "Report", "Timing", "table"]

ENOUGH = 6  # values for an interval of 95%: 2 · 2⁻⁶ ≤ 5%
NOISY_SPREAD = 0.10  # of the bare forward: interquartile range / median
NOISY_LOAD = 0.25  # running processes per core, before the run


class Interval(NamedTuple):
    """A median, and the bounds between which the true one lies with a confidence of 95%."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """The median of `values` with its distribution-free interval from order statistics.

        As many values are cut off on each side as leave a Binomial(n, 1/2) tail of at most
        2.5%. Fewer than 6 values can't reach 95%: the interval is then all of their range.
        """
        ordered, count = sorted(values), len(values)
        cut, tail = 0, 2.0**-count
        while tail + math.comb(count, cut + 1) * 2.0**-count <= 0.025:
            cut += 1
            tail += math.comb(count, cut) * 2.0**-count
        return cls(statistics.median(ordered), ordered[cut], ordered[count - 1 - cut])


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
    """The timings of one run by case, and the cases whose library is not installed."""

    machine: Machine
    size: int
    width: float
    timings: Mapping[str, Timing]
    missing: tuple[str, ...] = ()

    def ratio(self, name: str, to: str = BARE) -> Interval:
        """How many times longer `name` took than `to`: the median of the rounds' own ratios."""
        pairs = zip(self.timings[name].seconds, self.timings[to].seconds, strict=True)
        return Interval.of([a / b for a, b in pairs])

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
                    "sites": list(CASES[name].sites),
                    "seconds": list(timing.seconds),
                    "median": timing.median,
                    "interval": list(timing.interval),
                    "ratios": {
                        other: self.ratio(name, other)._asdict()
                        for other in (BARE, CASES[name].ours)
                        if other in self.timings
                    },
                }
                for name, timing in self.timings.items()
            },
            "missing": list(self.missing),
        }


def table(report: Report) -> str:
    """The report as plain text: one line a case, then what was measured, where, and how well."""
    sure = "95%" if len(report.timings[BARE].seconds) >= ENOUGH else "range"
    rows = [("", "sites", "seconds", sure, "× bare", sure, "× ours", sure)]
    for name, case in CASES.items():
        sites = str(len(case.sites) or "")
        if name in report.missing:
            rows.append((case.label, sites, "not installed", "", "", "", "", ""))
        elif name in report.timings:
            seconds = Interval.of(report.timings[name].seconds)
            bare, ours = _ratio(report, name, BARE), _ratio(report, name, case.ours)
            rows.append((case.label, sites, *_cells(seconds, 3), *bare, *ours))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", *_notes(report)])


def _ratio(report: Report, name: str, to: str) -> tuple[str, str]:
    """Two cells, empty where there is nothing to compare with."""
    return _cells(report.ratio(name, to), 2) if to in report.timings and to != name else ("", "")


def _cells(interval: Interval, digits: int) -> tuple[str, str]:
    return (
        f"{interval.median:.{digits}f}",
        f"{interval.low:.{digits}f}–{interval.high:.{digits}f}",
    )


def _notes(report: Report) -> list[str]:
    machine = report.machine
    rounds = len(report.timings[BARE].seconds)
    load = "unknown" if machine.load is None else f"{machine.load:.2f}"
    return [
        f"VGG19, width {report.width:g}, random weights, fp32, batch 1, {report.size} px; Grad-CAM "
        "at the last ReLU of block5, or of all five blocks.",
        f"Medians of {rounds} rounds; each ratio is the median of the rounds' own ratios to the "
        "plain bare forward (contiguous, no attention), or to vggviz on the same sites.",
        f"{machine.cpu}, {machine.cores} cores, {machine.threads} threads, torch {machine.torch}, "
        f"{machine.date}.",
        f"{'Noisy' if report.noisy else 'Quiet'} machine: the bare forward's interquartile range "
        f"is {report.spread:.0%} of its median, and the 1-minute load before was {load}.",
    ]

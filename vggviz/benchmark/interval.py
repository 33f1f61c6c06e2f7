"""Medians with their 95% intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["Interval", "Measured"]


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
class Measured:
    """The values of one measure, in `unit`; `aim` is what it should be."""

    label: str
    unit: str
    aim: str
    values: tuple[float, ...]

    @property
    def interval(self) -> Interval:
        """The median, and where it lies with a confidence of 95%."""
        return Interval.of(self.values)

    @property
    def p95(self) -> float:
        """What at least 95% of the values don't exceed: of n, the ⌈0.95 n⌉th."""
        return sorted(self.values)[math.ceil(0.95 * len(self.values)) - 1]

    def to_json(self) -> dict[str, Any]:
        """All values, the median, its interval and the 95th percentile."""
        return {
            "label": self.label,
            "unit": self.unit,
            "aim": self.aim,
            "values": list(self.values),
            **self.interval._asdict(),
            "p95": self.p95,
        }

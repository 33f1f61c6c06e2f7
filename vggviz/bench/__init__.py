"""The benchmark: how long explanations take, against one bare forward and other libraries."""

from __future__ import annotations

from vggviz.bench.bed import Bed, Case
from vggviz.bench.cases import BARE, CASES
from vggviz.bench.interval import Interval, Measured
from vggviz.bench.measures import MEASURES
from vggviz.bench.report import Report, Timing, table
from vggviz.bench.rounds import run

__all__ = [
    "BARE",
    "CASES",
    "MEASURES",
    "Bed",
    "Case",
    "Interval",
    "Measured",
    "Report",
    "Timing",
    "run",
    "table",
]

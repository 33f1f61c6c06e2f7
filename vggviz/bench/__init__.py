"""The benchmark: how long explanations take, against one bare forward and other libraries."""

from __future__ import annotations

from vggviz.bench.cases import BARE, CASES, Bed, Case
from vggviz.bench.report import Interval, Report, Timing, table
from vggviz.bench.rounds import run

__all__ = [
    "BARE",
    "CASES",
    "Bed",
    "Case",
    "Interval",
    "Report",
    "Timing",
    "run",
    "table",
]

"""The benchmark: how long explanations take, against one bare forward and other libraries."""

from __future__ import annotations

from vggviz.benchmark.cases import BARE, CASES
from vggviz.benchmark.fixtures import Case, Fixtures
from vggviz.benchmark.measures import MEASURES, MeasureValues
from vggviz.benchmark.report import Report, Timing, table
from vggviz.benchmark.rounds import run
from vggviz.platform.timing import Interval

__all__ = [
    "BARE",
    "CASES",
    "MEASURES",
    "Case",
    "Fixtures",
    "Interval",
    "MeasureValues",
    "Report",
    "Timing",
    "run",
    "table",
]

"""What the maps of networks are worth: every attention type and CAM method at every stage."""

from __future__ import annotations

from vggviz.evaluation.maps.job import CURVES, Job, Part, Pictures, Row
from vggviz.evaluation.maps.report import csv_of, html_of, markdown_of
from vggviz.evaluation.maps.run import METRICS, Report, judge_maps

__all__ = [
    "CURVES",
    "METRICS",
    "Job",
    "Part",
    "Pictures",
    "Report",
    "Row",
    "csv_of",
    "html_of",
    "judge_maps",
    "markdown_of",
]

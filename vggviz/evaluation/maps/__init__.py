"""The evaluation of maps: every attention type and CAM method at every stage of networks."""

from __future__ import annotations

from vggviz.evaluation.maps.report import csv_of, html_of, markdown_of
from vggviz.evaluation.maps.run import METRICS, Report, evaluate_maps

__all__ = ["METRICS", "Report", "csv_of", "evaluate_maps", "html_of", "markdown_of"]

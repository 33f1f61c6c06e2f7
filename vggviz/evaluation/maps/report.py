"""The report on maps: Markdown tables, CSV, and one HTML file that needs no other."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment

from vggviz.evaluation.maps.run import METRICS, Report
from vggviz.evaluation.pictures import unknown_note
from vggviz.plotting import svg
from vggviz.tables import markdown

__all__ = ["csv_of", "html_of", "markdown_of"]


def csv_of(report: Report) -> str:
    """All rows as CSV, with the names of `Row`'s fields as header."""
    return report.frame().to_csv(index=False, lineterminator="\n")


def markdown_of(report: Report) -> str:
    """A table for each metric: means with their 95% intervals, at the deepest stage of each map.

    Every stage is in the JSON and the CSV.
    """
    rows = report.frame()
    parts: list[str] = []
    for metric in report.settings["metrics"]:
        own = rows[rows["metric"] == metric]
        if len(own):
            known = own["count"][own["value"].notna()]
            low, high = (known.min(), known.max()) if len(known) else (0, 0)
            count = f"{low:,} to {high:,}" if low < high else f"{high:,}"
            note = f"{METRICS[metric].caption} Means over {count} pictures with 95% intervals."
            parts.append(markdown(METRICS[metric].table(own), note))
    parts += [f"Not measured: {note}." for note in report.notes]
    return "\n\n".join(filter(None, [*parts, unknown_note(report.settings["unknown"])]))


def html_of(report: Report, about: str) -> str:
    """The report as one HTML file: tables, plots, best and worst pictures; `about` says how it was
    made."""
    rows = report.frame()
    sections: list[dict[str, Any]] = []
    for metric in report.settings["metrics"]:
        own, spec = rows[rows["metric"] == metric], METRICS[metric]
        section: dict[str, Any] = {"metric": metric, "caption": spec.caption}
        if len(own):
            # As an image, not inline: ids inside one inline SVG would collide with those of others.
            section["plot"] = base64.b64encode(svg(spec.plot(own))).decode()
            section["table"] = spec.table(own).to_html(index=False, border=0)
            section["examples"] = [one for one in report.examples if one.metric == metric]
        sections.append(section)
    source = Path(__file__).with_name("report.html.jinja").read_text("utf-8")
    template = Environment(autoescape=True).from_string(source)
    unknown = unknown_note(report.settings["unknown"])
    return template.render(about=about, sections=sections, notes=report.notes, unknown=unknown)

"""What was measured of maps as tables, as CSV, and as one HTML file that needs no other."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields

from vggviz.evaluation.maps.job import Example, Row
from vggviz.evaluation.maps.plots import PLOTS
from vggviz.evaluation.maps.run import Report
from vggviz.evaluation.table import markdown
from vggviz.plotting import svg

__all__ = ["csv_of", "html_of", "markdown_of"]

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;
color:#1b1f24;background:#fff}table{border-collapse:collapse;font-size:14px}
td,th{padding:.25rem .6rem;border-bottom:1px solid #e3e8ed;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}.wide{overflow-x:auto}img{max-width:100%;height:auto}
.row{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:160px;font-size:13px;overflow-wrap:anywhere}"""
DEPTHS = ("fc8", "head", "conv5_4", "conv5_1", "conv4_1", "conv3_1", "conv1_1")  # in the table
SAID = {
    "agreement": "How alike each map and Grad-CAM of the same stage are, for the class that the "
    "network says: Spearman's ρ, Kendall's τ_b, IoU of the top 20%, SSIM; and ρ with controls.",
    "faithfulness": "Areas under the deletion (lower is better) and insertion curves, the average "
    "drop in confidence (lower is better), how often it increases, and ROAD (LeRF − MoRF).",
    "localisation": "Maps of the true class against boxes: pointing, with a tolerance of 3% of "
    "the side, on pictures whose box misses the centre; the energy in the box; MaxBoxAccV2.",
    "sanity": "Spearman's ρ of each map with itself after all layers from the top down to the "
    "named one were made untrained. A map that stays alike doesn't show what was learned.",
    "causality": "Other weights in the place of attention's at all stages together: how far the "
    "logits move (of their length), how often the answer changes, and top-1 and probability lost.",
}


def csv_of(report: Report) -> str:
    """Every row, one a line, under the names of its fields."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(Row)])
    writer.writerows(astuple(row) for row in report.rows)
    return text.getvalue()


def markdown_of(report: Report) -> str:
    """A table for each metric: means with their 95% intervals, at the deepest stage of each map.

    Every stage is in the JSON and the CSV.
    """
    parts: list[str] = []
    for metric in report.settings["metrics"]:
        rows = [row for row in report.rows if row.metric == metric]
        if rows:
            counts = sorted({row.count for row in rows if row.value is not None}) or [0]
            pictures = f"{counts[0]:,} to {counts[-1]:,}" if len(counts) > 1 else f"{counts[-1]:,}"
            said = f"{SAID[metric]} Means over {pictures} pictures with 95% intervals."
            parts.append(TABLES[metric](rows, said))
    parts += [f"Not measured: {note}." for note in report.notes]
    return "\n\n".join(parts)


def html_of(report: Report, about: str) -> str:
    """The whole report: tables, plots, best and worst pictures; `about` says how it was made."""
    body = [f"<h1>What the maps are worth</h1><p>{html.escape(about)}</p>"]
    for metric in report.settings["metrics"]:
        rows = [row for row in report.rows if row.metric == metric]
        body.append(f"<h2>{metric.capitalize()}</h2>")
        if not rows:
            body.append("<p>Nothing could be measured.</p>")
            continue
        # As pictures of their own: names inside of one SVG would mean something in another.
        drawn = base64.b64encode(svg(PLOTS[metric](rows))).decode()
        body.append(f'<img alt="{metric}" src="data:image/svg+xml;base64,{drawn}">')
        body.append(_html_table(TABLES[metric](rows, SAID[metric])))
        examples = [one for one in report.examples if one.metric == metric]
        body += _gallery(examples)
    body += [f"<p>Not measured: {html.escape(note)}.</p>" for note in report.notes]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>What the maps are worth</title><style>{STYLE}</style></head><body>"
        f"{''.join(body)}</body></html>"
    )


def _gallery(examples: Sequence[Example]) -> list[str]:
    parts: list[str] = []
    for network in dict.fromkeys(one.network for one in examples):
        figures = [
            f'<figure><img width="160" height="160" alt="" src="data:image/png;base64,{one.png}">'
            f"<figcaption>{html.escape(one.title)}<br>{html.escape(one.picture.rpartition('/')[2])}</figcaption>"
            "</figure>"
            for one in examples
            if one.network == network
        ]
        parts.append(f"<h3>{html.escape(network)}</h3><div class=row>{''.join(figures)}</div>")
    return parts


def _html_table(text: str) -> str:
    """Markdown as `markdown` writes it, as HTML."""
    table, *notes = text.split("\n\n")
    head, _, *body = [
        [html.escape(cell.strip()) for cell in line.strip("|").split("|")]
        for line in table.splitlines()
    ]
    lines = [f"<tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr>"] + [
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body
    ]
    said = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"{said}<div class=wide><table>{''.join(lines)}</table></div>"


Cell = tuple[str, str]  # measure, against


def _told(row: Row | None) -> str:
    if row is None or row.value is None or row.low is None or row.high is None:
        return ""
    return f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]".replace("-", "−")


def _by_map(rows: Sequence[Row], said: str, cells: dict[str, Cell]) -> str:
    """A line for each network and map at its deepest stage; what stands for all networks once."""
    found = {(r.network, r.map, r.stage, r.measure, r.against): r for r in rows}
    deepest = {(row.network, row.map): row.stage for row in rows}  # stages come from the lowest up
    first = rows[0].network
    lines = [
        (network if stage else "", map, stage, *(_told(found.get((network, map, stage, *cell)))
         for cell in cells.values()))
        for (network, map), stage in sorted(deepest.items(), key=lambda item: not item[1])
        if stage or network == first
    ]  # fmt: skip
    return markdown(("", "map", "stage", *cells), lines, [said])


def _agreement(rows: Sequence[Row], said: str) -> str:
    """Every stage of learned attention; CAM methods at the deepest one."""
    found = {(r.network, r.map, r.stage, r.measure, r.against): r for r in rows}
    cells = {
        "ρ": ("spearman", "gradcam"),
        "τ_b": ("kendall", "gradcam"),
        "IoU": ("iou", "gradcam"),
        "SSIM": ("ssim", "gradcam"),
        "ρ, another picture": ("spearman", "gradcam of another picture"),
        "ρ, centre": ("spearman", "centre"),
        "ρ, other seed": ("spearman", "other seed"),
    }
    if not any(row.against == "other seed" for row in rows):
        del cells["ρ, other seed"]
    lines = [
        (*key, *(_told(found.get((*key, *cell))) for cell in cells.values()))
        for key in dict.fromkeys((r.network, r.map, r.stage) for r in rows)
    ]
    return markdown(("", "map", "stage", *cells), lines, [said])


def _faithfulness(rows: Sequence[Row], said: str) -> str:
    names = ("deletion", "insertion", "drop", "increase", "road")
    cells = {name.replace("road", "ROAD"): (name, "") for name in names}
    return _by_map(rows, said, cells)


def _localisation(rows: Sequence[Row], said: str) -> str:
    names = ("pointing", "pointing, tolerant", "pointing, off-centre", "energy", "MaxBoxAccV2")
    return _by_map(rows, said, {name: (name, "") for name in names})


def _sanity(rows: Sequence[Row], said: str) -> str:
    there = {row.against for row in rows}
    chosen = [layer for layer in DEPTHS if layer in there]
    return _by_map(rows, said, {layer: ("spearman, cascading", layer) for layer in chosen})


def _causality(rows: Sequence[Row], said: str) -> str:
    found = {(row.network, row.against, row.measure): row for row in rows}
    names = list(dict.fromkeys(row.measure for row in rows))
    lines = [
        (network, against, *(_told(found.get((network, against, name))) for name in names))
        for network, against in dict.fromkeys((row.network, row.against) for row in rows)
    ]
    return markdown(("", "replaced by", *names), lines, [said])


TABLES: dict[str, Callable[[Sequence[Row], str], str]] = {
    "agreement": _agreement,
    "faithfulness": _faithfulness,
    "localisation": _localisation,
    "sanity": _sanity,
    "causality": _causality,
}

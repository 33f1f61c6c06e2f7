"""The tab 'All types': one picture through every attention type, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from vggviz.app.choices import first_stage
from vggviz.app.markup import attention_title, stage_title
from vggviz.app.result import SMALL, Floats
from vggviz.app.session import Session, handler
from vggviz.app.shell import HIDDEN, PRIVATE, Shell
from vggviz.app.tabs.panels import html, join, panel, shrink, text_percent
from vggviz.locales import text
from vggviz.metrics.agreement import agreement
from vggviz.types import Ranked
from vggviz.weights import bundled_results

NAME = "types.name"

TILE = 112  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The results of one attention type for the picture: its predicted class; raw maps at `stage`,
    `map` of the attention, None where that is no map; their rank correlation, NaN where there is
    none; and whether the network has attention at all."""

    attention: str
    first: Ranked
    stage: str
    map: Floats | None
    gradcam: Floats
    agreement: float
    has_attention: bool


def row(session: Session, attention: str, stage: str) -> Row:
    """The row of one type, for the class of the last result, at this stage or, where it has no
    attention there, at the `first_stage` of its network."""
    stage = first_stage(session.explainer(attention), stage)
    explanation = session.explanation((stage,), attention=attention)
    spatial = explanation.spatial(stage)
    gradcam = explanation.heatmaps[stage, "gradcam"].raw
    rho = math.nan if spatial is None else agreement(spatial, gradcam).spearman
    return Row(
        attention,
        explanation.prediction.top(1)[0],
        stage,
        None if spatial is None else spatial.numpy(),
        gradcam.numpy(),
        rho,
        bool(explanation.attention),
    )


@handler
def run(session: Session, stage: str) -> Iterator[str]:
    """The table as HTML, again after each type."""
    types = session.networks.types(session.current.request.weights, session.own)
    rows: list[Row] = []
    check = session.deadline()
    for attention in types:
        rows.append(row(session, attention, stage))
        yield table(session, rows, types)
        check(len(rows), len(types))


@handler
def begin(session: Session, stage: str) -> Iterator[str]:
    """`run` where the network is small; else the empty table, until the button is pressed."""
    if len(session.current.crop) <= SMALL:
        yield from run(session, stage)
    else:
        types = session.networks.types(session.current.request.weights, session.own)
        yield table(session, [], types)


COLUMNS = ("says", "attention", "gradcam", "agreement", "top1", "against", "parameters", "latency")


def table(session: Session, rows: Sequence[Row], types: Sequence[str]) -> str:
    """The table as HTML with the rows so far; the others are empty, so that its height stays."""
    lang, result = session.lang, session.current
    weights = result.request.weights
    base = bundled_results(weights, "none")
    heads = "".join(
        f'<th scope="col">{escape(text(lang, f"types.{key}"))}'
        + (f" <small>{escape(text(lang, 'types.times'))}</small>" if key == "latency" else "")
        + "</th>"
        for key in ("type", *COLUMNS)
    )
    done = {one.attention: one for one in rows}
    square = shrink(result.square, TILE)
    body = ""
    for key in types:
        cells = _cells(lang, square, done[key]) if key in done else [""] * 4
        cells += _measured(lang, bundled_results(weights, key), base)
        current = ' class="current"' if key == result.attention else ""
        body += (
            f'<tr{current}><th scope="row">{escape(attention_title(lang, key))}</th>'
            f"{''.join(f'<td>{one}</td>' for one in cells)}</tr>"
        )
    state = text(lang, "types.progress", done=len(rows), total=len(types))
    sentences = reading(lang, rows, types) if len(rows) == len(types) else [state]
    notes = [text(lang, "types.rho")] + ([text(lang, "types.source")] if base else [])
    caption = text(lang, "language.notes").join(notes)
    return (
        f'<progress max="{len(types)}" value="{len(rows)}" aria-label="{escape(state)}"></progress>'
        f'<p class="reading" role="status">{escape(join(lang, sentences))}</p>'
        f'<div class="wide" tabindex="0" role="region" '
        f'aria-label="{escape(text(lang, "types.table"))}"><table class="rows">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="caption">{escape(text(lang, "types.agreement"))}: {escape(caption)}</p>'
    )


def _cells(lang: str, square: Any, one: Row) -> list[str]:
    stage, name = stage_title(lang, one.stage), attention_title(lang, one.attention)

    def alt(key: str) -> str:
        return text(lang, "types.alt", map=text(lang, f"types.{key}"), type=name, block=stage)

    alt_text = text(lang, "types.channels" if one.has_attention else "types.none")
    map = panel(lang, square, one.map, alt_text if one.map is None else alt("attention"), bare=True)
    gradcam = panel(lang, square, one.gradcam, alt("gradcam"), bare=True)
    correlation = "–" if math.isnan(one.agreement) else f"{one.agreement:.2f}".replace("-", "−")
    prediction = f"<b>{escape(one.first.label)}</b> {escape(text_percent(one.first.probability))}"
    return [prediction, map, gradcam, correlation]


def _measured(
    lang: str, found: Mapping[str, Any] | None, base: Mapping[str, Any] | None
) -> list[str]:
    """The cells of top-1, difference to 'none' with its interval, added parameters and latency."""
    if found is None or base is None:
        return ["–"] * 4
    against, ratio = found["against"], found["cost"]["ratio"]
    added_parameters = found["cost"]["parameters"] - base["cost"]["parameters"]
    points = "–"
    if against:
        value, low, high = (100 * against["points"][key] for key in ("value", "low", "high"))
        within = text(lang, "types.interval", low=f"{low:+.1f}", high=f"{high:+.1f}")
        points = f"{value:+.1f} <small>{escape(within)}</small>".replace("-", "−")
    return [
        f"{100 * found['top1']['value']:.1f}",
        points,
        f"{added_parameters:,}",
        f"{ratio['value']:.2f}" if ratio else "1",
    ]


def reading(lang: str, rows: Sequence[Row], types: Sequence[str]) -> list[str]:
    """In words: whether all types predict the same class."""
    if len(types) == 1:
        return [text(lang, "types.only")]
    labels = list(dict.fromkeys(one.first.label for one in rows))
    if len(labels) == 1:
        return [text(lang, "types.same", count=len(rows), label=labels[0])]
    listed = text(lang, "language.list").join(labels)
    return [text(lang, "types.differ", labels=listed)]


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`."""
    session = shell.sessions["types"] = gr.State(None)
    shell.line("types.line")
    with gr.Row(elem_classes="controls"):
        start = shell.labelled(
            gr.Button(size="sm", elem_classes="act", elem_id="types-start"), value="types.start"
        )
        stop = shell.labelled(
            gr.Button(size="sm", elem_classes="act quiet", elem_id="types-stop"),
            value="types.stop",
        )
    content = html("", elem_id="types", elem_classes="told", min_height=700)
    how: dict[str, Any] = {
        "inputs": [session, shell.stage],
        "outputs": content,
        "concurrency_id": "network",
        **HIDDEN,
    }
    pressed = start.click(run, **how)
    opened = session.change(begin, cancels=pressed, **how)
    stop.click(None, None, None, cancels=[pressed, opened], **PRIVATE)
    shell.tabs.select(None, None, None, cancels=[pressed, opened], **PRIVATE)

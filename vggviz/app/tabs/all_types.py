"""The tab 'All types': one picture through every attention type, as a wall of maps or a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr
import torch

from vggviz.app.choices import first_stage
from vggviz.app.markup import attention_title
from vggviz.app.parts.channels import effects
from vggviz.app.parts.maps import why_not_compared
from vggviz.app.result import SMALL, Floats, stage_maps
from vggviz.app.session import Session, handler
from vggviz.app.shell import HIDDEN, PRIVATE, Shell
from vggviz.app.tabs.panels import html, join, run_buttons, text_percent
from vggviz.app.tabs.wall import POINT, Channels, wall
from vggviz.locales import class_name, text
from vggviz.metrics.agreement import agreement
from vggviz.types import Kind, Ranked
from vggviz.weights import bundled_results

NAME = "types.name"

VIEWS = ("wall", "numbers")


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The results of one attention type for the picture: its predicted class; at `stage` the raw
    map of its attention and the kind of it, None where that is no map, and its channels, None where
    it has none; the raw map of Grad-CAM; the rank correlation of both, NaN where it would say
    nothing; and whether the network has attention at all."""

    attention: str
    first: Ranked
    stage: str
    map: Floats | None
    kind: Kind | None
    channels: Channels | None
    gradcam: Floats
    agreement: float
    has_attention: bool


def row(session: Session, attention: str, stage: str) -> Row:
    """The row of one type, for the class of the last result, at this stage or, where it has no
    attention there, at the `first_stage` of its network."""
    stage = first_stage(session.explainer(attention), stage)
    explanation = session.explanation((stage,), attention=attention)
    gradcam = explanation.heatmaps[stage, "gradcam"].raw
    found = stage_maps(explanation, stage)
    rho = math.nan
    if (
        found.attention is not None
        and why_not_compared(
            found, explanation.provenance["trained"], found.attention, found.gradcam
        )
        is None
    ):
        rho = agreement(torch.from_numpy(found.attention), gradcam).spearman
    return Row(
        attention,
        explanation.prediction.top(1)[0],
        stage,
        found.attention,
        found.kind,
        None if found.channels is None else Channels(found.channels, effects(found)),
        found.gradcam,
        rho,
        bool(explanation.attention),
    )


@handler
def run(session: Session, stage: str) -> Iterator[str]:
    """The tab's HTML with empty places, which takes what showed another picture away, and again
    after each type."""
    types = session.networks.types(session.current.request.weights, session.own)
    rows: list[Row] = []
    yield content(session, rows, types)
    check = session.deadline()
    for attention in types:
        rows.append(row(session, attention, stage))
        yield content(session, rows, types)
        check(len(rows), len(types))


@handler
def begin(session: Session, stage: str) -> Iterator[str]:
    """`run` where the network is small; else empty places, until the button is pressed."""
    if len(session.current.crop) <= SMALL:
        yield from run(session, stage)
    else:
        types = session.networks.types(session.current.request.weights, session.own)
        yield content(session, [], types)


COLUMNS = ("says", "agreement", "top1", "against", "parameters", "latency")


def content(session: Session, rows: Sequence[Row], types: Sequence[str]) -> str:
    """Progress, a reading, and both views: the wall of maps and the table of numbers."""
    lang = session.lang
    state = text(lang, "types.progress", done=len(rows), total=len(types))
    sentences = reading(lang, rows, types) if len(rows) == len(types) else [state]
    return (
        f'<progress max="{len(types)}" value="{len(rows)}" aria-label="{escape(state)}"></progress>'
        f'<p class="reading" role="status">{escape(join(lang, sentences))}</p>'
        f"{wall(lang, session.current, rows, types)}{table(session, rows, types)}"
    )


def table(session: Session, rows: Sequence[Row], types: Sequence[str]) -> str:
    """The table of numbers as HTML with the rows so far; the others are empty."""
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
    body = ""
    for key in types:
        cells = _cells(lang, done[key]) if key in done else [""] * 2
        cells += _measured(lang, bundled_results(weights, key), base)
        current = ' class="current"' if key == result.attention else ""
        body += (
            f'<tr{current}><th scope="row">{escape(attention_title(lang, key))}</th>'
            f"{''.join(f'<td>{one}</td>' for one in cells)}</tr>"
        )
    notes = [text(lang, "types.rho")] + ([text(lang, "types.source")] if base else [])
    caption = text(lang, "language.notes").join(notes)
    return (
        f'<div class="wide" tabindex="0" role="region" '
        f'aria-label="{escape(text(lang, "types.table"))}"><table class="rows">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        f'<p class="caption">{escape(text(lang, "types.agreement"))}: {escape(caption)}</p></div>'
    )


def _cells(lang: str, one: Row) -> list[str]:
    correlation = "–" if math.isnan(one.agreement) else f"{one.agreement:.2f}".replace("-", "−")
    name = class_name(lang, one.first.label)
    prediction = f"<b>{escape(name)}</b> {escape(text_percent(one.first.probability))}"
    return [prediction, correlation]


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
    labels = list(dict.fromkeys(class_name(lang, one.first.label) for one in rows))
    if len(labels) == 1:
        return [text(lang, "types.same", count=len(rows), label=labels[0])]
    listed = text(lang, "language.list").join(labels)
    return [text(lang, "types.differ", labels=listed)]


def _views(session: Session) -> dict[str, Any]:
    """Both views as a radio's choices, and its label."""
    choices = [(session.text(f"types.{key}"), key) for key in VIEWS]
    return {"choices": choices, "label": session.text("types.view")}


_VIEW = "(view) => document.documentElement.classList.toggle('numbers', view === 'numbers')"


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`."""
    session = shell.sessions["types"] = gr.State(None)
    shell.line("types.line")
    with gr.Row(elem_classes="controls"):
        start = shell.labelled(
            gr.Button(size="sm", elem_classes="act", elem_id="types-start"), value="types.start"
        )
        stop = shell.labelled(
            gr.Button(size="sm", elem_classes="act quiet", elem_id="types-stop", interactive=False),
            value="types.stop",
        )
        view = shell.labelled(
            gr.Radio(
                _views(Session(shell.networks))["choices"],
                value=VIEWS[0],
                elem_id="types-view",
                elem_classes="segments",
            ),
            _views,
        )
        view.change(None, view, None, js=_VIEW, **PRIVATE)
    part = html("", js_on_load=POINT, elem_id="types", elem_classes="told", min_height=700)
    both, quiet = [start, stop], {"queue": False, **HIDDEN}
    request = gr.State((0, False))  # the number of a run, and whether the button began it

    def draw(session: Session, stage: str, request: tuple[int, bool]) -> Iterator[str]:
        yield from (run if request[1] else begin)(session, stage)

    @handler
    def ask(session: Session, request: tuple[int, bool], pressed: bool) -> tuple[Any, ...]:
        return (request[0] + 1, pressed), *run_buttons(True)

    running = request.change(
        draw,
        [session, shell.stage, request],
        part,
        concurrency_id="network",
        trigger_mode="multiple",
        **HIDDEN,
    )
    running.then(lambda: run_buttons(False), None, both, **quiet)
    # First: Gradio's events come in this order, and one that cancels must not cancel the next run.
    ends = [stop.click, shell.tabs.select]
    gr.on([start.click, session.change, *ends], None, None, None, cancels=running, **PRIVATE)
    for event, pressed in ((start.click, True), (session.change, False)):
        event(partial(ask, pressed=pressed), [session, request], [request, *both], **HIDDEN)
    gr.on(ends, lambda: run_buttons(False), None, both, **quiet)

"""The tab 'Ask a pixel': the self-attention of the position that one points at."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from vggviz.app.attention_rows import attention_rows
from vggviz.app.errors import user_error
from vggviz.app.inputs import event_data
from vggviz.app.markup import attention_title, placeholder, stage_title
from vggviz.app.session import Session, handler
from vggviz.app.shell import HIDDEN, OPACITY, PRIVATE, Shell
from vggviz.app.tabs.panels import asked_stage, cell, html, join, shrink
from vggviz.explanation import Explanation
from vggviz.locales import text
from vggviz.plotting import data_uri
from vggviz.plotting.maps import gradient, palette
from vggviz.types import AttentionRecord, Grid

NAME = "pixel.name"

ASKED = "self_attention"  # the type that is shown where the chosen one has no queries
LINES = 28  # cells a side of the finest grid whose lines are drawn
NAMED = 4  # places that are listed

_SCRIPT = Path(__file__).with_name("pixel.js").read_text(encoding="utf-8")
_TELL = 'watch("value", () => document.dispatchEvent(new CustomEvent("vggviz:pixel-row")));'


class Cell(NamedTuple):
    """A query position on the grid of its stage."""

    row: int
    column: int


def asked_attention(session: Session) -> str | None:
    """The attention type whose positions can be asked: that of the result where it has queries,
    else self-attention where these weights have it, else None."""
    result = session.current
    if any(
        record["kind"] == "token"
        for one in result.details["stages"].values()
        for record in one.get("attention", ())
    ):
        return result.request.attention
    types = session.networks.types(result.request.weights, session.own)
    return ASKED if ASKED in types else None


def token_records(explanation: Explanation) -> dict[str, AttentionRecord]:
    """The attention of every position, by the stages that have such."""
    return {
        stage: record
        for stage, records in explanation.attention.items()
        for record in records[::-1]
        if record.kind == "token"
    }


def first_cell(explanation: Explanation, record: AttentionRecord) -> Cell:
    """The first position: where Grad-CAM is largest, so that it lies on the object."""
    gradcam, (height, width) = explanation.heatmaps[record.stage, "gradcam"].raw, record.grid
    rows, columns = gradcam.shape
    row, column = divmod(int(np.nan_to_num(gradcam.numpy()).argmax()), columns)
    return Cell(row * height // rows, column * width // columns)


def clicked_cell(session: Session, event: Mapping[str, Any], grid: Grid) -> Cell:
    """The position that was clicked. `event` comes from a browser and may be anything."""
    found = [event.get("row"), event.get("column")]
    if not all(isinstance(n, int) and 0 <= n < size for n, size in zip(found, grid, strict=True)):
        raise user_error(session.text("pixel.no_place"))
    return Cell(*found)  # type: ignore[arg-type]


def content(session: Session, record: AttentionRecord, position: Cell) -> str:
    """The HTML of the picture to point at, and of what `pixel.js` fills in: the average over heads
    on the picture, each head beside it, and a reading. `position` is asked first."""
    lang, result = session.lang, session.current
    index = position.row * record.grid[1] + position.column
    sent = attention_rows(record, index)
    label = text(lang, "pixel.canvas", rows=record.grid[0], columns=record.grid[1])
    heads = sent["layers"] - 1
    each = "".join(
        f"<figure><figcaption>{escape(text(lang, 'pixel.head', number=head + 1))}</figcaption>"
        f'<div class="well photo">{_HEAT}{cell(*position, record.grid)}</div>{_bar()}</figure>'
        for head in range(heads)
    )
    notes = [text(lang, "pixel.each" if heads else "pixel.average_only", heads=sent["heads"])]
    if sent["count"] == 1:
        notes = [text(lang, "pixel.large", places=f"{math.prod(record.grid):,}"), *notes]
    return (
        f'<div class="asking" style="--photo:url({data_uri(shrink(result.square, 224))})" '
        f'data-opening="{index}" {_data(lang, sent)}>'
        f"<figure><h2>{escape(text(lang, 'pixel.average'))} "
        f'<small id="asked" aria-live="polite"> </small></h2>'
        f'<div class="well canvas" tabindex="0" role="application" aria-label="{escape(label)}">'
        f'<img src="{data_uri(result.square)}" width="{len(result.square)}" '
        f'height="{len(result.square)}" alt="" draggable="false">{_HEAT}'
        f"{_grid_lines(*record.grid)}{_outlines(sent)}"
        f"{cell(*position, record.grid)}</div>{_bar()}</figure>"
        f'<div id="pixel-looks">{_instead(session)}<p class="reading" data-opening> </p>'
        f"{_sinks(lang, sent)}"
        f'<p class="each">{escape(join(lang, notes))}</p>'
        f'<div class="heads" style="--columns:{min(max(heads, 3), 6)}">{each}</div></div>'
        "</div>"
    )


_HEAT = f'<canvas aria-hidden="true" style="opacity:{OPACITY}"></canvas>'


def _bar() -> str:
    """A colour bar from 0; the script sets the largest weight, or in its place says of a flat map
    that it is flat."""
    return (
        f'<div class="scale"><b>0</b><i style="background:linear-gradient(90deg,{gradient()})">'
        f"</i><b> </b></div>"
    )


def _data(lang: str, sent: Mapping[str, Any]) -> str:
    """What the script draws, as an attribute; texts with names in braces, which it fills in."""
    reading = text(lang, "pixel.reading")
    texts = {
        "place": text(lang, "pixel.place"),
        "flat": text(lang, "explore.flat"),
        "spread": join(lang, [reading, text(lang, "pixel.spread")]),
        "focus": join(lang, [reading, text(lang, "pixel.focus")]),
    }
    data = json.dumps({**sent, "texts": texts, "colours": base64.b64encode(palette()).decode()})
    return "data-attention='{}'".format(escape(data, quote=False).replace("'", "&#39;"))


def _grid_lines(rows: int, columns: int) -> str:
    """The grid lines between positions, '' where they would be too many."""
    if max(rows, columns) > LINES:
        return ""
    path = "".join(f"M0 {n}H{columns}" for n in range(1, rows))
    path += "".join(f"M{n} 0V{rows}" for n in range(1, columns))
    return (
        f'<svg viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )


def _outlines(sent: Mapping[str, Any]) -> str:
    """The outlines of the places that nearly all look at."""
    height, width = sent["keys"]
    found = (cell(place // width, place % width, (height, width)) for place in sent["sinks"])
    return "".join(one.replace('class="cell"', 'class="cell sink"') for one in found)


def _sinks(lang: str, sent: Mapping[str, Any]) -> str:
    """The names of the places that nearly all look at, why there are such, and a switch that hides
    them; '' where there are none."""
    places, width = sent["sinks"], sent["keys"][1]
    if not places:
        return ""
    names = [
        text(lang, "pixel.place", row=place // width + 1, column=place % width + 1)
        for place in places[:NAMED]
    ]
    if len(places) > NAMED:
        names.append(text(lang, "pixel.more", count=len(places) - NAMED))
    key = "pixel.sinks" if len(places) > 1 else "pixel.sink"
    named = text(lang, key, count=len(places), places=text(lang, "language.and").join(names))
    hide = escape(text(lang, "pixel.hide" if len(places) > 1 else "pixel.hide_one"))
    return (
        f'<div class="sinks"><div>{escape(named)} {_term(lang, "why")}</div>'
        f'<label><input type="checkbox" role="switch">{hide}</label></div>'
    )


def _term(lang: str, key: str) -> str:
    """A word of the text, `pixel.<key>`, that explains itself when it is pressed."""
    name = escape(text(lang, f"pixel.{key}"))
    parts = "".join(f"<p>{escape(part)}</p>" for part in text(lang, f"pixel.{key}_text").split("|"))
    title = escape(text(lang, f"pixel.{key}_title"))
    return (
        f'<button type="button" class="term" popovertarget="pixel-{key}">{name}</button>'
        f'<div id="pixel-{key}" class="meaning" popover tabindex="0" role="dialog" '
        f'aria-label="{title}"><h2>{title}</h2>{parts}</div>'
    )


def _instead(session: Session) -> str:
    """That self-attention is shown in the place of the chosen type, '' where it was chosen."""
    chosen = session.current.request.attention
    if asked_attention(session) == chosen:
        return ""
    key = "pixel.instead" if chosen != "none" else "pixel.instead_none"
    sentence = session.text(key, chosen=attention_title(session.lang, chosen))
    return f'<p class="instead-of">{escape(sentence)}</p>'


@handler
def update_tab(session: Session, stage: str) -> tuple[Any, str]:
    """After another result or stage: the update of the stages, and the attention of a first
    position, or a hint where no network of these weights has self-attention."""
    attention = asked_attention(session)
    if attention is None:
        hint = session.text("pixel.none_hint")
        return gr.update(visible=False), placeholder(session.text("pixel.none"), hint, "nothing")
    explanation = session.explanation(attention=attention)
    records = token_records(explanation)
    stage = stage if stage in records else [*records][-1]
    choices = [(stage_title(session.lang, one), one) for one in records]
    chosen = gr.update(choices=choices, value=stage, visible=len(records) > 1)
    record = records[stage]
    return chosen, content(session, record, first_cell(explanation, record))


@handler
def click(session: Session, stage: str, event: gr.EventData) -> str:
    """The attention of the position that was clicked, of a stage that is too large to be sent: for
    the script, as `content` has it."""
    attention, records = asked_attention(session), {}
    if attention and stage in session.explainer(attention).model.listed_stages():
        records = token_records(session.explanation((stage,), (), attention=attention))
    if stage not in records:
        raise user_error(session.text("pixel.no_place"))
    record = records[stage]
    position = clicked_cell(session, event_data(event), record.grid)
    index = position.row * record.grid[1] + position.column
    sent = attention_rows(record, index, alone=True)
    return f"<i {_data(session.lang, sent)}></i>"


def _line(lang: str) -> str:
    """What there is to do, with the word 'query' explained."""
    line = escape(text(lang, "pixel.line")).replace("{query}", _term(lang, "query"))
    keys = escape(text(lang, "pixel.line_keys"))
    return f'<div class="line">{line} <span>{keys}</span></div>'


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`."""
    session = shell.sessions["pixel"] = gr.State(None)
    shell.labelled(html(_line("en")), lambda session: {"value": _line(session.lang)})
    with gr.Row(elem_classes="controls"):
        stage = shell.labelled(
            gr.Radio([], visible=False, elem_classes="segments", elem_id="pixel-stage"),
            label="pixel.stage",
        )
    part = html("", js_on_load=_SCRIPT, elem_id="pixel")
    row = html("", js_on_load=_TELL, elem_id="pixel-row")
    how: dict[str, Any] = {"concurrency_id": "network", "show_progress_on": part, **PRIVATE}
    asked = asked_stage(shell, session, stage)

    def draw(session: Session, asked: tuple[str, int]) -> Any:
        return update_tab(session, asked[0])

    asked.change(draw, [session, asked], [stage, part], trigger_mode="always_last", **how)
    part.select(click, [session, stage], row, trigger_mode="multiple", **{**how, **HIDDEN})

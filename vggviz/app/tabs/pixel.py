"""The tab 'Ask a pixel': the self-attention of one position of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from vggviz.app.errors import user_error
from vggviz.app.inputs import event_data
from vggviz.app.markup import placeholder, stage_title
from vggviz.app.result import Result
from vggviz.app.session import Session, handler
from vggviz.app.shell import HIDDEN, PRIVATE, Shell
from vggviz.app.tabs.panels import cell, html, join, panel, shrink, text_percent
from vggviz.locales import text
from vggviz.plotting import data_uri
from vggviz.types import AttentionRecord

NAME = "pixel.name"


class Cell(NamedTuple):
    """A query position on the grid of its stage."""

    row: int
    column: int


def token_stages(result: Result) -> list[str]:
    """The stages where each position has attention of its own."""
    records = {
        stage: result.details["stages"][stage].get("attention", ()) for stage in result.stages
    }
    return [
        stage for stage, found in records.items() if any(one["kind"] == "token" for one in found)
    ]


def token_record(session: Session, stage: str) -> AttentionRecord:
    """The attention of all positions at a stage, from the cache where it holds it."""
    records = session.explanation(methods=("gradcam",)).attention[stage]
    return next(record for record in records if record.kind == "token")


def first_cell(result: Result, stage: str) -> Cell:
    """The first position: where Grad-CAM is largest, so that it lies on the object."""
    gradcam, grid = result.stages[stage].gradcam, query_grid(result, stage)
    row, column = np.unravel_index(int(gradcam.argmax()), gradcam.shape)
    return Cell(int(row) * grid[0] // gradcam.shape[0], int(column) * grid[1] // gradcam.shape[1])


def clicked_cell(session: Session, event: Mapping[str, Any], grid: tuple[int, int]) -> Cell:
    """The position that was clicked. `event` comes from a browser and may be anything."""
    found = [event.get("row"), event.get("column")]
    if not all(isinstance(n, int) and 0 <= n < size for n, size in zip(found, grid, strict=True)):
        raise user_error(session.text("pixel.no_place"))
    return Cell(*found)  # type: ignore[arg-type]


def query_grid(result: Result, stage: str) -> tuple[int, int]:
    """(H, W), where the queries of this stage lie."""
    records = result.details["stages"][stage]["attention"]
    height, width = next(record["grid"] for record in records if record["kind"] == "token")
    return height, width


def attention_maps(session: Session, stage: str, position: Cell) -> str:
    """The HTML of the position's attention, the mean over heads and each head, and a reading."""
    return _attention_maps(session.lang, session.current, token_record(session, stage), position)


def canvas(lang: str, result: Result, stage: str, position: Cell) -> str:
    """The HTML of the picture to click on, with the outline of the query position."""
    height, width = query_grid(result, stage)
    label = text(lang, "pixel.canvas", rows=height, columns=width)
    return (
        f'<h2>{escape(text(lang, "pixel.ask"))} <small id="asked" aria-live="polite">'
        f"{_position_text(lang, position)}</small></h2>"
        f'<div class="well canvas" tabindex="0" role="application" aria-label="{escape(label)}" '
        f'data-rows="{height}" data-columns="{width}" data-row="{position.row}" '
        f'data-column="{position.column}" data-place="{escape(text(lang, "pixel.place"))}">'
        f'<img src="{data_uri(result.square)}" width="{len(result.square)}" '
        f'height="{len(result.square)}" alt="" draggable="false">'
        f"{_grid_lines(height, width)}{cell(*position, (height, width))}</div>"
    )


def _grid_lines(rows: int, columns: int) -> str:
    """The grid lines between positions, '' where they would be too many."""
    if max(rows, columns) > 28:
        return ""
    path = "".join(f"M0 {n}H{columns}" for n in range(1, rows))
    path += "".join(f"M{n} 0V{rows}" for n in range(1, columns))
    return (
        f'<svg viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )


def _position_text(lang: str, position: Cell) -> str:
    return escape(text(lang, "pixel.place", row=position.row + 1, column=position.column + 1))


def _attention_maps(lang: str, result: Result, record: AttentionRecord, position: Cell) -> str:
    heads = len(record.weights)
    opening = " data-opening" if position == first_cell(result, record.stage) else ""
    mark = cell(*position, record.grid)
    small = shrink(result.square, 224)

    def one(head: int | None, name: str, square: Any) -> str:
        place = {"row": position.row + 1, "column": position.column + 1}
        alt = text(lang, "pixel.alt", name=name, **place)
        return panel(lang, square, record.query(*position, head).numpy(), alt, mark=mark)

    average = text(lang, "pixel.average_how", heads=heads)
    each = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>{one(head, name, small)}</figure>"
        for head in range(heads)
        for name in [text(lang, "pixel.head", number=head + 1)]
    )
    return (
        f'<figure class="average"><h2>{escape(text(lang, "pixel.average"))} '
        f"<small>{escape(average)}</small></h2>{one(None, average, result.square)}</figure>"
        f'<div class="heads">{each}</div>'
        f'<p class="reading" data-row="{position.row + 1}"{opening}>'
        f"{escape(reading(lang, record, position))}</p>"
    )


def reading(lang: str, record: AttentionRecord, position: Cell) -> str:
    """In words: the position's largest weight, its weight on itself, and how spread its weights
    are."""
    assert record.keys is not None
    weights = record.query(*position).flatten()  # (M,)
    (height, width), (rows, columns) = record.keys, record.grid
    to_row, to_column = divmod(int(weights.argmax()), width)
    itself = weights[position.row * height // rows * width + position.column * width // columns]
    half = 1 + int((weights.sort(descending=True).values.cumsum(0) < 0.5 * weights.sum()).sum())
    even = 1 / len(weights)
    spread = float(weights.max()) < 1.5 * even
    summary = text(
        lang,
        "pixel.reading",
        row=position.row + 1,
        column=position.column + 1,
        to_row=to_row + 1,
        to_column=to_column + 1,
        most=text_percent(float(weights.max())),
        half=half,
        all=len(weights),
        **{"self": text_percent(float(itself))},
    )
    ending = text(lang, "pixel.spread" if spread else "pixel.focus", even=text_percent(even))
    return join(lang, [summary, ending])


@handler
def update_tab(session: Session, stage: str) -> tuple[Any, ...]:
    """After another result: the updates of the stages, the canvas, the attention of its first
    position, and the button that chooses self-attention. Without self-attention in the network the
    third is a hint, and the button is visible where these weights have that type."""
    result, stages = session.current, token_stages(session.current)
    if not stages:
        types = session.networks.types(result.request.weights, session.own)
        could = "self_attention" in types
        key = "pixel.other" if could else "pixel.none"
        hint = placeholder(session.text(key), session.text(f"{key}_hint"), "nothing")
        return gr.update(visible=False), "", hint, gr.update(visible=could)
    stage = stage if stage in stages else stages[-1]
    choices = [(stage_title(session.lang, one), one) for one in stages]
    chosen = gr.update(choices=choices, value=stage, visible=len(stages) > 1)
    position = first_cell(result, stage)
    content = canvas(session.lang, result, stage, position)
    return chosen, content, attention_maps(session, stage, position), gr.update(visible=False)


@handler
def change_stage(session: Session, stage: str) -> tuple[str, str]:
    """After another stage: the canvas and the attention of its first position."""
    if stage not in token_stages(session.current):
        return "", ""
    position = first_cell(session.current, stage)
    content = canvas(session.lang, session.current, stage, position)
    return content, attention_maps(session, stage, position)


@handler
def click(session: Session, stage: str, event: gr.EventData) -> str:
    """The attention of the position that was clicked."""
    if stage not in token_stages(session.current):
        raise user_error(session.text("pixel.no_place"))
    grid = query_grid(session.current, stage)
    return attention_maps(session, stage, clicked_cell(session, event_data(event), grid))


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`."""
    session = shell.sessions["pixel"] = gr.State(None)
    shell.line("pixel.line")
    with gr.Row(elem_classes="controls"):
        stage = shell.labelled(
            gr.Radio([], visible=False, elem_classes="segments", elem_id="pixel-stage"),
            label="pixel.stage",
        )
    with gr.Row(elem_id="pixel"):
        picture = html("", js_on_load=_CANVAS_SCRIPT, elem_id="pixel-canvas")
        content = html("", elem_id="pixel-looks")
    choose = shell.labelled(
        gr.Button(visible=False, size="sm", elem_classes="act", elem_id="pixel-choose"),
        value="pixel.choose",
    )
    how: dict[str, Any] = {"concurrency_id": "network", "show_progress_on": content, **PRIVATE}
    session.change(update_tab, [session, shell.stage], [stage, picture, content, choose], **how)
    stage.input(change_stage, [session, stage], [picture, content], **how)
    picture.select(click, [session, stage], content, trigger_mode="multiple", **{**how, **HIDDEN})
    choose.click(
        lambda request: ("self_attention", request + 1),
        shell.run_request,
        [shell.attention, shell.run_request],
        **HIDDEN,
    )


# The outline moves in the browser, before the server's answer.
_CANVAS_SCRIPT = """
const ask = (canvas, row, column) => {
  const rows = Number(canvas.dataset.rows), columns = Number(canvas.dataset.columns);
  row = Math.max(0, Math.min(rows - 1, row));
  column = Math.max(0, Math.min(columns - 1, column));
  if (row === Number(canvas.dataset.row) && column === Number(canvas.dataset.column)) return;
  Object.assign(canvas.dataset, {row, column});
  const cell = canvas.querySelector(".cell");
  cell.style.left = 100 * column / columns + "%";
  cell.style.top = 100 * row / rows + "%";
  element.querySelector("#asked").textContent =
    canvas.dataset.place.replace("{row}", row + 1).replace("{column}", column + 1);
  if (waiting === null) send(canvas);
};
// At most one request in 150 ms, and always one for the last position.
let waiting = null;
const send = (canvas) => {
  const [row, column] = [canvas.dataset.row, canvas.dataset.column].map(Number);
  trigger("select", {row, column});
  waiting = setTimeout(() => {
    waiting = null;
    const now = [canvas.dataset.row, canvas.dataset.column].map(Number);
    if (now[0] !== row || now[1] !== column) send(canvas);
  }, 150);
};
element.addEventListener("click", (event) => {
  const canvas = event.target.closest(".canvas");
  if (!canvas) return;
  const box = canvas.getBoundingClientRect();
  ask(canvas, Math.floor((event.clientY - box.top) / box.height * canvas.dataset.rows),
    Math.floor((event.clientX - box.left) / box.width * canvas.dataset.columns));
});
const moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
element.addEventListener("keydown", (event) => {
  const canvas = event.target.closest(".canvas"), move = moves[event.key];
  if (!canvas || !move) return;
  event.preventDefault();
  const step = Math.ceil(canvas.dataset.rows / 28);
  ask(canvas, Number(canvas.dataset.row) + step * move[0],
    Number(canvas.dataset.column) + step * move[1]);
});
"""

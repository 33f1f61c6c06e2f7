"""The tab 'Ask a pixel': where one place looks, in self-attention."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from vggviz.app.handlers import boundary
from vggviz.app.inputs import sent
from vggviz.app.markup import instead
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.pictures import Shown, data_uri, refusal
from vggviz.app.rerun import recall
from vggviz.app.shell import HIDDEN, Shell
from vggviz.app.tabs.lazy import Call
from vggviz.app.tabs.panels import block, cell, html, join, panel, shrink, text_percent
from vggviz.locales import text
from vggviz.types import AttentionRecord

NAME = "pixel.name"

KEPT = 2_000_000  # bytes of attention that a session may keep: a small network's


class Cell(NamedTuple):
    """The place that is asked, on the grid of the stage's queries."""

    row: int
    column: int


Kept = Mapping[str, AttentionRecord]


def stages_of(shown: Shown) -> list[str]:
    """The stages where each place looks for itself."""
    return [stage for stage, place in shown.places.items() if place.kind == "token"]


def remember(networks: Networks, shown: Shown, own: Owned = NOTHING) -> Kept:
    """The attention of all places at all stages, or nothing where that is too large to keep: then
    the network runs again for every place that is asked."""
    stages = stages_of(shown)
    small = [stage for stage in stages if _bytes(shown, stage) * len(stages) <= KEPT]
    return _records(networks, shown, small, own) if small else {}


def _bytes(shown: Shown, stage: str) -> int:
    (record,) = shown.details["stages"][stage]["attention"]
    return 4 * int(np.prod(record["shape"]))


def _records(networks: Networks, shown: Shown, stages: list[str], own: Owned) -> Kept:
    found = recall(networks, shown, own, stages, methods=())
    return {stage: found.attention[stage][0] for stage in stages}


def first(shown: Shown, stage: str, grid: tuple[int, int]) -> Cell:
    """The place to begin with: where Grad-CAM is largest, so that it lies on the thing."""
    map = shown.places[stage].gradcam
    row, column = np.unravel_index(int(map.argmax()), map.shape)
    return Cell(int(row) * grid[0] // map.shape[0], int(column) * grid[1] // map.shape[1])


def at(event: Mapping[str, Any], grid: tuple[int, int], lang: str = "en") -> Cell:
    """The place that was clicked. It comes from a browser: it may be anything."""
    found = [event.get("row"), event.get("column")]
    if not all(isinstance(n, int) and 0 <= n < size for n, size in zip(found, grid, strict=True)):
        raise refusal(text(lang, "pixel.no_place"))
    return Cell(*found)  # type: ignore[arg-type]


def grid_of(shown: Shown, stage: str) -> tuple[int, int]:
    """(H, W), where the queries of this stage lie."""
    height, width = shown.details["stages"][stage]["attention"][0]["grid"]
    return height, width


def looks(
    networks: Networks,
    call: Call,
    kept: Kept,
    stage: str,
    asked: Cell | None,
    own: Owned = NOTHING,
) -> str:
    """Where the place looks, on average and with each head, and the same in words."""
    with boundary(call.lang):
        shown, lang = call.shown, call.lang
        if stage not in stages_of(shown):
            return ""
        grid = grid_of(shown, stage)
        asked = asked or first(shown, stage, grid)
        record = kept.get(stage) or _records(networks, shown, [stage], own)[stage]
        return _looks(lang, shown, record, asked)


def canvas(lang: str, shown: Shown, stage: str, asked: Cell) -> str:
    """The picture to click on, with the outline of the place that is asked."""
    height, width = grid_of(shown, stage)
    label = text(lang, "pixel.canvas", rows=height, columns=width)
    return (
        f'<h2>{escape(text(lang, "pixel.ask"))} <small id="asked" aria-live="polite">'
        f"{_named(lang, asked)}</small></h2>"
        f'<div class="well canvas" tabindex="0" role="application" aria-label="{escape(label)}" '
        f'data-rows="{height}" data-columns="{width}" data-row="{asked.row}" '
        f'data-column="{asked.column}" data-place="{escape(text(lang, "pixel.place"))}">'
        f'<img src="{data_uri(shown.square)}" width="{len(shown.square)}" '
        f'height="{len(shown.square)}" alt="" draggable="false">'
        f"{_lines(height, width)}{cell(*asked, (height, width))}</div>"
    )


def _lines(rows: int, columns: int) -> str:
    """Faint lines between the places, where there are not too many."""
    if max(rows, columns) > 28:
        return ""
    path = "".join(f"M0 {n}H{columns}" for n in range(1, rows))
    path += "".join(f"M{n} 0V{rows}" for n in range(1, columns))
    return (
        f'<svg viewBox="0 0 {columns} {rows}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="{path}"/></svg>'
    )


def _named(lang: str, asked: Cell) -> str:
    return escape(text(lang, "pixel.place", row=asked.row + 1, column=asked.column + 1))


def _looks(lang: str, shown: Shown, record: AttentionRecord, asked: Cell) -> str:
    heads = len(record.weights)
    mark = cell(*asked, record.grid)
    small = shrink(shown.square, 224)

    def one(head: int | None, name: str, square: Any) -> str:
        place = {"row": asked.row + 1, "column": asked.column + 1}
        alt = text(lang, "pixel.alt", name=name, **place)
        return panel(lang, square, record.query(*asked, head).numpy(), alt, mark=mark)

    average = text(lang, "pixel.average_how", heads=heads)
    each = "".join(
        f"<figure><figcaption>{escape(name)}</figcaption>{one(head, name, small)}</figure>"
        for head in range(heads)
        for name in [text(lang, "pixel.head", number=head + 1)]
    )
    return (
        f'<figure class="average"><h2>{escape(text(lang, "pixel.average"))} '
        f"<small>{escape(average)}</small></h2>{one(None, average, shown.square)}</figure>"
        f'<div class="heads">{each}</div>'
        f'<p class="reading">{escape(reading(lang, record, asked))}</p>'
    )


def reading(lang: str, record: AttentionRecord, asked: Cell) -> str:
    """In words: where the place looks most, how much at itself, and how widely."""
    assert record.keys is not None
    weights = record.query(*asked).flatten()  # (M,)
    (height, width), (rows, columns) = record.keys, record.grid
    to_row, to_column = divmod(int(weights.argmax()), width)
    itself = weights[asked.row * height // rows * width + asked.column * width // columns]
    half = 1 + int((weights.sort(descending=True).values.cumsum(0) < 0.5 * weights.sum()).sum())
    even = 1 / len(weights)
    spread = float(weights.max()) < 1.5 * even
    said = text(
        lang,
        "pixel.reading",
        row=asked.row + 1,
        column=asked.column + 1,
        to_row=to_row + 1,
        to_column=to_column + 1,
        most=text_percent(float(weights.max())),
        half=half,
        all=len(weights),
        **{"self": text_percent(float(itself))},
    )
    ending = text(lang, "pixel.spread" if spread else "pixel.focus", even=text_percent(even))
    return join(lang, [said, ending])


def opened(
    networks: Networks, call: Call | None, stage: str, own: Owned = NOTHING
) -> tuple[Any, ...]:
    """What the tab shows of another result: what is kept, the stages to choose from, the place, the
    canvas, where it looks; or what to choose instead. Outputs as in `build`."""
    if call is None:
        return (gr.skip(),) * 6
    with boundary(call.lang):
        shown, lang = call.shown, call.lang
        stages = stages_of(shown)
        if not stages:
            could = any("self_attention" in types for types in networks.choices.values())
            room = "other" if could else "none"
            told = instead(text(lang, f"pixel.{room}"), text(lang, f"pixel.{room}_hint"), "nothing")
            hidden = gr.update(visible=False)
            return {}, hidden, None, "", told, gr.update(visible=could)
        stage = stage if stage in stages else stages[-1]
        asked = first(shown, stage, grid_of(shown, stage))
        kept = remember(networks, shown, own)
        choices = [(block(lang, one), one) for one in stages]
        chosen = gr.update(choices=choices, value=stage, visible=len(stages) > 1)
        told = looks(networks, call, kept, stage, asked, own)
        return (
            kept,
            chosen,
            asked,
            canvas(lang, shown, stage, asked),
            told,
            gr.update(visible=False),
        )


def moved(
    networks: Networks, call: Call | None, kept: Kept, stage: str, own: Owned = NOTHING
) -> tuple[Any, ...]:
    """Another stage: the place begins anew there."""
    if call is None:
        return (gr.skip(),) * 3
    shown, lang = call.shown, call.lang
    if stage not in stages_of(shown):
        return None, "", ""
    asked = first(shown, stage, grid_of(shown, stage))
    told = looks(networks, call, kept, stage, asked, own)
    return asked, canvas(lang, shown, stage, asked), told


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    networks = shell.networks
    call, kept, asked = gr.State(None), gr.State({}), gr.State(None)
    shell.calls["pixel"] = call
    shell.line("pixel.line")
    with gr.Row(elem_classes="controls"):
        stage = shell.labelled(
            gr.Radio([], visible=False, elem_classes="segments", elem_id="pixel-stage"),
            label="pixel.stage",
        )
    with gr.Row(elem_id="pixel"):
        ask = html("", js_on_load=_ASK, elem_id="pixel-canvas")
        told = html("", elem_id="pixel-looks")
    choose = shell.labelled(
        gr.Button(visible=False, size="sm", elem_classes="act", elem_id="pixel-choose"),
        value="pixel.choose",
    )
    how: dict[str, Any] = {"concurrency_id": "network", "api_visibility": "private"}
    call.change(
        partial(opened, networks),
        [call, shell.stage, shell.own],
        [kept, stage, asked, ask, told, choose],
        show_progress_on=told,
        **how,
    )
    stage.input(
        partial(moved, networks),
        [call, kept, stage, shell.own],
        [asked, ask, told],
        show_progress_on=told,
        **how,
    )

    def clicked(call: Call | None, kept: Kept, stage: str, own: Owned, event: gr.EventData) -> Any:
        if call is None or stage not in stages_of(call.shown):
            raise refusal(text(call.lang if call else "en", "pixel.no_place"))
        here = at(sent(event), grid_of(call.shown, stage), call.lang)
        return here, looks(networks, call, kept, stage, here, own)

    ask.select(
        clicked,
        [call, kept, stage, shell.own],
        [asked, told],
        trigger_mode="multiple",
        **HIDDEN,
        **how,
    )
    choose.click(
        lambda wish: ("self_attention", wish + 1),
        shell.wish,
        [shell.attention, shell.wish],
        api_visibility="private",
        **HIDDEN,
    )


# The outline moves at once, the answer follows.
_ASK = """
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
// At most one question in 150 ms, and always the last one.
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

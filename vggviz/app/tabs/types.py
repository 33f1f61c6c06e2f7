"""The tab 'All types': one picture through every attention type, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr
import torch

from vggviz.app.choices import start
from vggviz.app.handlers import boundary
from vggviz.app.markup import named
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.pictures import Floats, Shown
from vggviz.app.rerun import known_stage, recall, spatial_of
from vggviz.app.shell import HIDDEN, Shell
from vggviz.app.tabs.lazy import Call
from vggviz.app.tabs.panels import block, html, join, panel, shrink, text_percent
from vggviz.locales import text
from vggviz.metrics.agreement import agreement
from vggviz.types import Ranked
from vggviz.weights import bundled_results

NAME = "types.name"

TILE = 112  # pixels
SMALL = 128  # pixels of a side, up to which a network is small enough to run all types at once


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """What one type shows of the picture: its likeliest class; raw maps at `stage`, None where the
    type has none; their rank correlation, NaN where there is none; whether it weighs channels."""

    attention: str
    first: Ranked
    stage: str
    map: Floats | None
    gradcam: Floats
    agreement: float
    weighs: bool


def row(networks: Networks, shown: Shown, attention: str, stage: str, own: Owned = NOTHING) -> Row:
    """One type, at this stage or where it has attention, for the class that is shown."""
    stage = start(networks.get(shown.question.weights, attention, own), stage)
    found = recall(networks, shown, own, (stage,), attention=attention)
    map, gradcam = spatial_of(found, stage), found.heatmaps[stage, "gradcam"].raw
    alike = math.nan if map is None else agreement(torch.from_numpy(map), gradcam).spearman
    weighs = bool(found.attention)
    first = found.prediction.top(1)[0]
    return Row(attention, first, stage, map, gradcam.numpy(), alike, weighs)


def run(networks: Networks, call: Call | None, stage: str, own: Owned = NOTHING) -> Iterator[str]:
    """The table as HTML, once more for each type."""
    if call is None:
        return
    with boundary(call.lang):
        shown, lang, stage = call.shown, call.lang, known_stage(stage, call.lang)
        types = networks.types(shown.question.weights, own)
        rows: list[Row] = []
        check = networks.patience(lang)
        for attention in types:
            rows.append(row(networks, shown, attention, stage, own))
            yield table(lang, shown, rows, types)
            check(len(rows), len(types))


def begin(networks: Networks, call: Call | None, stage: str, own: Owned = NOTHING) -> Iterator[str]:
    """At once where the network is small; else the empty table, until the button is pressed."""
    if call is not None and len(call.shown.crop) <= SMALL:
        yield from run(networks, call, stage, own)
    elif call is not None:
        with boundary(call.lang):
            types = networks.types(call.shown.question.weights, own)
            yield table(call.lang, call.shown, [], types)


COLUMNS = ("says", "attention", "gradcam", "agreement", "top1", "against", "parameters", "latency")


def table(lang: str, shown: Shown, rows: Sequence[Row], types: Sequence[str]) -> str:
    """All rows so far; the others stand empty, so that nothing jumps."""
    weights = shown.question.weights
    base = bundled_results(weights, "none")
    heads = "".join(
        f'<th scope="col">{escape(text(lang, f"types.{key}"))}'
        + (f" <small>{escape(text(lang, 'types.times'))}</small>" if key == "latency" else "")
        + "</th>"
        for key in ("type", *COLUMNS)
    )
    done = {one.attention: one for one in rows}
    square = shrink(shown.square, TILE)
    body = ""
    for key in types:
        cells = _cells(lang, square, done[key]) if key in done else [""] * 4
        cells += _measured(lang, bundled_results(weights, key), base)
        current = ' class="current"' if key == shown.attention else ""
        body += (
            f'<tr{current}><th scope="row">{escape(named(lang, key))}</th>'
            f"{''.join(f'<td>{one}</td>' for one in cells)}</tr>"
        )
    state = text(lang, "types.progress", done=len(rows), total=len(types))
    said = reading(lang, rows, types) if len(rows) == len(types) else [state]
    notes = [text(lang, "types.rho")] + ([text(lang, "types.source")] if base else [])
    caption = text(lang, "language.notes").join(notes)
    return (
        f'<progress max="{len(types)}" value="{len(rows)}" aria-label="{escape(state)}"></progress>'
        f'<p class="reading" role="status">{escape(join(lang, said))}</p>'
        f'<div class="wide" tabindex="0" role="region" '
        f'aria-label="{escape(text(lang, "types.table"))}"><table class="rows">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="caption">{escape(text(lang, "types.agreement"))}: {escape(caption)}</p>'
    )


def _cells(lang: str, square: Any, one: Row) -> list[str]:
    where, name = block(lang, one.stage), named(lang, one.attention)

    def alt(key: str) -> str:
        return text(lang, "types.alt", map=text(lang, f"types.{key}"), type=name, block=where)

    gone = text(lang, "types.channels" if one.weighs else "types.none")
    map = panel(lang, square, one.map, gone if one.map is None else alt("attention"), bare=True)
    gradcam = panel(lang, square, one.gradcam, alt("gradcam"), bare=True)
    alike = "–" if math.isnan(one.agreement) else f"{one.agreement:.2f}".replace("-", "−")
    says = f"<b>{escape(one.first.label)}</b> {escape(text_percent(one.first.probability))}"
    return [says, map, gradcam, alike]


def _measured(
    lang: str, found: Mapping[str, Any] | None, base: Mapping[str, Any] | None
) -> list[str]:
    """Top-1, the difference to none with its interval, parameters added, latency."""
    if found is None or base is None:
        return ["–"] * 4
    against, ratio = found["against"], found["cost"]["ratio"]
    added = found["cost"]["parameters"] - base["cost"]["parameters"]
    points = "–"
    if against:
        value, low, high = (100 * against["points"][key] for key in ("value", "low", "high"))
        within = text(lang, "types.interval", low=f"{low:+.1f}", high=f"{high:+.1f}")
        points = f"{value:+.1f} <small>{escape(within)}</small>".replace("-", "−")
    return [
        f"{100 * found['top1']['value']:.1f}",
        points,
        f"{added:,}",
        f"{ratio['value']:.2f}" if ratio else "1",
    ]


def reading(lang: str, rows: Sequence[Row], types: Sequence[str]) -> list[str]:
    """In words: whether all types say the same."""
    if len(types) == 1:
        return [text(lang, "types.only")]
    labels = list(dict.fromkeys(one.first.label for one in rows))
    if len(labels) == 1:
        return [text(lang, "types.same", count=len(rows), label=labels[0])]
    listed = text(lang, "language.list").join(labels)
    return [text(lang, "types.differ", labels=listed)]


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    call = shell.calls["types"] = gr.State(None)
    shell.line("types.line")
    with gr.Row(elem_classes="controls"):
        again_ = shell.labelled(
            gr.Button(size="sm", elem_classes="act", elem_id="types-start"), value="types.start"
        )
        stop = shell.labelled(
            gr.Button(size="sm", elem_classes="act quiet", elem_id="types-stop"),
            value="types.stop",
        )
    told = html("", elem_id="types", elem_classes="told", min_height=700)
    how: dict[str, Any] = {
        "inputs": [call, shell.stage, shell.own],
        "outputs": told,
        "concurrency_id": "network",
        "api_visibility": "private",
        **HIDDEN,
    }
    pressed = again_.click(partial(run, shell.networks), **how)
    called = call.change(partial(begin, shell.networks), cancels=pressed, **how)
    stop.click(None, None, None, cancels=[pressed, called], api_visibility="private")
    shell.tabs.select(None, None, None, cancels=[pressed, called], api_visibility="private")

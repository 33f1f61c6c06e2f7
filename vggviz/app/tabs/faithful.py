"""The tab 'How faithful': deletion and insertion curves, rendered while they are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, TypeAlias

import gradio as gr
import torch
from torch import Tensor

from vggviz.app.markup import stage_title
from vggviz.app.result import Result
from vggviz.app.session import Session, handler
from vggviz.app.shell import HIDDEN, Shell
from vggviz.app.tabs.panels import (
    html,
    join,
    run_buttons,
    stage_radio,
    stage_update,
    stage_with_attention,
)
from vggviz.locales import class_name, text
from vggviz.metrics.baselines import noise
from vggviz.metrics.faithfulness import SCALED, Kind, area, scaled_batch_size

NAME = "faithful.name"

KINDS: tuple[Kind, ...] = ("deletion", "insertion")
POINTS = SCALED.steps + 1
BATCH = 17  # pictures at a time for a small network: three batches give the 51 points

Curves: TypeAlias = dict[tuple[Kind, str], list[tuple[float, float]]]
"""The points (fraction, probability) so far, by kind of curve and name of map."""


def maps_of(result: Result, stage: str) -> dict[str, Tensor]:
    """The maps (h, w) that are measured at this stage, by name; 'random' has a value for each
    pixel."""
    stage_maps = result.stages[stage]
    side = len(result.crop)
    maps = {"gradcam": torch.from_numpy(stage_maps.gradcam)}
    if stage_maps.attention is not None:
        maps = {"attention": torch.from_numpy(stage_maps.attention), **maps}
    blank = torch.zeros(1, 3, side, side)
    return {**maps, "random": noise(blank, torch.Generator().manual_seed(0))[0]}


def measure(session: Session, stage: str) -> Iterator[Curves]:
    """The curves of the last result as they grow: the same dict after each batch."""
    explainer, result, check = session.explainer(), session.current, session.deadline()
    interval = scaled_batch_size(result.crop.shape[:2], BATCH)
    curves: Curves = {}
    for kind in KINDS:
        for name, map in maps_of(result, stage).items():
            points = curves[kind, name] = []
            target = result.target.index
            for point in session.curve(explainer, result.crop, map, target, kind, check, BATCH):
                points.append(point)
                if len(points) % interval == 0 or len(points) == POINTS:
                    yield curves


@handler
def run(session: Session, stage: str) -> Iterator[str]:
    """The tab's HTML after each batch; nothing where the tab was not opened yet, and so has no
    stage."""
    if stage not in session.current.names:
        return
    for curves in measure(session, stage):
        yield draw(session, stage, curves)


def draw(session: Session, stage: str, curves: Curves) -> str:
    """Progress, both charts and areas as HTML, and a reading of them once they are complete."""
    result, lang = session.current, session.lang
    names = list(maps_of(result, stage))
    total = len(KINDS) * len(names) * POINTS
    done = sum(map(len, curves.values()))
    title = session.text(
        "faithful.class",
        label=class_name(lang, result.target.label),
        block=stage_title(lang, stage),
    )
    state = session.text("faithful.progress" if done else "faithful.ready", done=done, total=total)
    no_map = [] if "attention" in names else [session.text("faithful.no_map")]
    if done == total:
        one = session.text("faithful.one")
        sentences = [title, *verdicts(lang, areas(curves)), *no_map, one]
    else:
        sentences = [title, state, *no_map]
    charts = "".join(_chart(lang, result, kind, curves, names) for kind in KINDS)
    return (
        f'<progress max="{total}" value="{done}" aria-label="{escape(state)}"></progress>'
        f'<p class="reading" role="status"{" data-complete" if done == total else ""}>'
        f"{escape(join(lang, sentences))}</p>"
        f'<div class="halves">{charts}</div>'
    )


def areas(curves: Curves) -> dict[tuple[Kind, str], float]:
    """The areas under the curves that are complete, in [0, 1]."""
    return {
        key: float(area(*zip(*points, strict=True)))
        for key, points in curves.items()
        if len(points) == POINTS
    }


def verdicts(lang: str, found: Mapping[tuple[Kind, str], float]) -> list[str]:
    """In words: whether each map has better areas than the random map."""
    sentences: list[str] = []
    for name in ("attention", "gradcam"):
        if ("deletion", name) not in found:
            continue
        wins = (found["deletion", name] < found["deletion", "random"]) + (
            found["insertion", name] > found["insertion", "random"]
        )
        key = ("loses", "half", "wins")[wins]
        sentences.append(text(lang, f"faithful.{key}", name=text(lang, f"faithful.{name}")))
    return sentences


def _chart(lang: str, result: Result, kind: Kind, curves: Curves, names: list[str]) -> str:
    found = areas(curves)
    title, how = text(lang, f"faithful.{kind}"), text(lang, f"faithful.{kind}_how")
    lines = "".join(
        f'<path class="curve {name}" d="M{_path(points)}"/>'
        for name in reversed(names)
        if (points := curves.get((kind, name)))
    )
    rows = "".join(_row(lang, name, found.get((kind, name))) for name in names)
    numbers = [
        f"{text(lang, f'faithful.{name}')} {found[kind, name]:.2f}"
        for name in names
        if (kind, name) in found
    ]
    label = text(
        lang,
        "faithful.chart",
        kind=title,
        label=class_name(lang, result.target.label),
        areas=", ".join(numbers),
    )
    better = text(lang, "faithful.better_low" if kind == "deletion" else "faithful.better_high")
    return (
        f"<section><h2>{escape(title)} <small>{escape(how)}</small></h2>"
        f'<div class="curves"><div class="axis" aria-hidden="true"><i>100%</i><i>50%</i><i>0%</i>'
        f'</div><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><path class="rule" d="M0 0H100M0 50H100M0 100H100"/>{lines}'
        f'</svg></div><div class="under" aria-hidden="true"><i>0%</i>'
        f"<i>{escape(text(lang, 'faithful.x'))}</i><i>100%</i></div>"
        f'<table class="areas"><caption>{escape(text(lang, "faithful.area"))}: {escape(better)}'
        f"</caption><tbody>{rows}</tbody></table></section>"
    )


def _path(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{100 * x:.1f},{100 - 100 * y:.2f}" for x, y in points)


def _row(lang: str, name: str, value: float | None) -> str:
    number = "–" if value is None else f"{value:.3f}"
    line = f'<path class="curve {name}" d="M0 4H28"/>'
    key = f'<svg class="key" viewBox="0 0 28 8" aria-hidden="true">{line}</svg>'
    label = escape(text(lang, f"faithful.{name}"))
    return f'<tr><th scope="row">{key}{label}</th><td>{number}</td></tr>'


@handler
def update_tab(session: Session, stage: str) -> tuple[Any, str]:
    """After another result: the update of the stages, and empty charts."""
    return stage_update(session, stage), change_stage(session, stage)


@handler
def change_stage(session: Session, stage: str) -> str:
    """After another stage: empty charts."""
    return draw(session, stage_with_attention(session.current, stage), {})


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`."""
    session = shell.sessions["faithful"] = gr.State(None)
    shell.line("faithful.line")
    with gr.Row(elem_classes="controls"):
        stage = stage_radio(shell, "faithful-stage")
        start = shell.labelled(
            gr.Button(size="sm", elem_classes="act", elem_id="faithful-start"),
            value="faithful.start",
        )
        stop = shell.labelled(
            gr.Button(
                size="sm", elem_classes="act quiet", elem_id="faithful-stop", interactive=False
            ),
            value="faithful.stop",
        )
    content = html("", elem_id="faithful", elem_classes="told", min_height=560)
    both = [start, stop]
    start.click(lambda: run_buttons(True), None, both, queue=False, **HIDDEN)
    running = start.click(run, [session, stage], content, concurrency_id="network", **HIDDEN)
    running.then(lambda: run_buttons(False), None, both, queue=False, **HIDDEN)
    session.change(update_tab, [session, shell.stage], [stage, content], cancels=running, **HIDDEN)
    stage.input(
        change_stage,
        [session, stage],
        content,
        cancels=running,
        trigger_mode="always_last",
        **HIDDEN,
    )
    # Another tab, result or stage stops the measurement: no one would see its end.
    gr.on(
        [stop.click, shell.tabs.select, session.change, stage.input],
        lambda: run_buttons(False),
        None,
        both,
        cancels=running,
        queue=False,
        **HIDDEN,
    )

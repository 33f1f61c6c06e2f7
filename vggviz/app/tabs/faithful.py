"""The tab 'How faithful': deletion and insertion curves, drawn while they are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from html import escape
from typing import Any, TypeAlias

import gradio as gr
import torch
from torch import Tensor

from vggviz.app.handlers import boundary
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.pictures import Shown
from vggviz.app.rerun import explainer_of, known_stage, stage_of
from vggviz.app.shell import HIDDEN, Shell
from vggviz.app.tabs.lazy import Call
from vggviz.app.tabs.panels import block, blocks, html, join
from vggviz.explainer import Report
from vggviz.locales import text
from vggviz.metrics.baselines import noise
from vggviz.metrics.faithfulness import SCALED, Kind, area, perturb, scaled_batch_size
from vggviz.platform.device import run_network

NAME = "faithful.name"

KINDS: tuple[Kind, ...] = ("deletion", "insertion")
POINTS = SCALED.steps + 1
BATCH = 17  # pictures between two drawings of a small network: 51 points are three of them

Curves: TypeAlias = dict[tuple[Kind, str], list[tuple[float, float]]]
"""The points (fraction, probability) so far, by kind of curve and name of map."""


def maps_of(shown: Shown, stage: str) -> dict[str, Tensor]:
    """The maps (h, w) that are measured at this stage, by name: 'random' has a value a pixel."""
    place = shown.places[stage]
    side = len(shown.crop)
    found = {"gradcam": torch.from_numpy(place.gradcam)}
    if place.attention is not None:
        found = {"attention": torch.from_numpy(place.attention), **found}
    blank = torch.zeros(1, 3, side, side)
    return {**found, "random": noise(blank, torch.Generator().manual_seed(0))[0]}


def measure(
    networks: Networks,
    shown: Shown,
    stage: str,
    own: Owned = NOTHING,
    check: Report = lambda done, total: None,
) -> Iterator[Curves]:
    """All curves of what is shown, as they grow: the same dict again and again. `check` ends it."""
    explainer = explainer_of(networks, shown, own)
    predict = partial(run_network, explainer.model)
    pixels = explainer.preprocess.normalise(shown.crop)
    often = scaled_batch_size((pixels.shape[-2], pixels.shape[-1]), BATCH)
    curves: Curves = {}
    for kind in KINDS:
        for name, map in maps_of(shown, stage).items():
            points = curves[kind, name] = []
            target = shown.target.index
            for point in perturb(predict, pixels, map, target, kind, SCALED, batch=BATCH):
                points.append(point)
                check(len(points), POINTS)
                if len(points) % often == 0 or len(points) == POINTS:
                    yield curves


def run(networks: Networks, call: Call | None, stage: str, own: Owned = NOTHING) -> Iterator[str]:
    """The tab's result as HTML, again and again while it is measured; nothing before the tab has
    its charts, and with them its stage."""
    if call is None or stage not in call.shown.places:
        return
    with boundary(call.lang):
        shown, lang, stage = call.shown, call.lang, known_stage(stage, call.lang)
        for curves in measure(networks, shown, stage, own, networks.patience(lang)):
            yield told(lang, shown, stage, curves)


def told(lang: str, shown: Shown, stage: str, curves: Curves) -> str:
    """Progress, both charts, areas, and what they mean once all is there."""
    names = list(maps_of(shown, stage))
    total = len(KINDS) * len(names) * POINTS
    done = sum(map(len, curves.values()))
    of = text(lang, "faithful.class", label=shown.target.label, block=block(lang, stage))
    state = text(lang, "faithful.progress" if done else "faithful.ready", done=done, total=total)
    said = [] if "attention" in names else [text(lang, "faithful.no_map")]
    if done == total:
        said = [of, *verdicts(lang, areas(curves)), *said, text(lang, "faithful.one")]
    else:
        said = [of, state, *said]
    charts = "".join(_chart(lang, shown, kind, curves, names) for kind in KINDS)
    return (
        f'<progress max="{total}" value="{done}" aria-label="{escape(state)}"></progress>'
        f'<p class="reading" role="status">{escape(join(lang, said))}</p>'
        f'<div class="halves">{charts}</div>'
    )


def areas(curves: Curves) -> dict[tuple[Kind, str], float]:
    """The areas under the curves that are whole, in [0, 1]."""
    return {
        key: float(area(*zip(*points, strict=True)))
        for key, points in curves.items()
        if len(points) == POINTS
    }


def verdicts(lang: str, found: Mapping[tuple[Kind, str], float]) -> list[str]:
    """In words: whether each map beats the random one, which does not look at the picture."""
    said: list[str] = []
    for name in ("attention", "gradcam"):
        if ("deletion", name) not in found:
            continue
        wins = (found["deletion", name] < found["deletion", "random"]) + (
            found["insertion", name] > found["insertion", "random"]
        )
        key = ("loses", "half", "wins")[wins]
        said.append(text(lang, f"faithful.{key}", name=text(lang, f"faithful.{name}")))
    return said


def _chart(lang: str, shown: Shown, kind: Kind, curves: Curves, names: list[str]) -> str:
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
        label=shown.target.label,
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
    shown = "–" if value is None else f"{value:.3f}"
    line = f'<path class="curve {name}" d="M0 4H28"/>'
    key = f'<svg class="key" viewBox="0 0 28 8" aria-hidden="true">{line}</svg>'
    label = escape(text(lang, f"faithful.{name}"))
    return f'<tr><th scope="row">{key}{label}</th><td>{shown}</td></tr>'


def opened(call: Call | None, stage: str) -> tuple[Any, ...]:
    """Another result: the stage to look at and empty charts, nothing computed."""
    if call is None:
        return gr.skip(), gr.skip()
    stage = stage_of(call.shown, known_stage(stage, call.lang))
    return stage, told(call.lang, call.shown, stage, {})


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    call = shell.calls["faithful"] = gr.State(None)
    shell.line("faithful.line")
    with gr.Row(elem_classes="controls"):
        stage = blocks(shell, "faithful-stage")
        start = shell.labelled(
            gr.Button(size="sm", elem_classes="act", elem_id="faithful-start"),
            value="faithful.start",
        )
        stop = shell.labelled(
            gr.Button(size="sm", elem_classes="act quiet", elem_id="faithful-stop"),
            value="faithful.stop",
        )
    told_ = html("", elem_id="faithful", elem_classes="told", min_height=560)
    how: dict[str, Any] = {"api_visibility": "private", **HIDDEN}
    running = start.click(
        partial(run, shell.networks),
        [call, stage, shell.own],
        told_,
        concurrency_id="network",
        **how,
    )
    stop.click(None, None, None, cancels=running, api_visibility="private")
    # Whoever leaves, or asks something else, does not want the old answer any more.
    shell.tabs.select(None, None, None, cancels=running, api_visibility="private")
    call.change(opened, [call, shell.stage], [stage, told_], cancels=running, **how)
    stage.input(opened, [call, stage], [stage, told_], cancels=running, **how)

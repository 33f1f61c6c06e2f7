"""Parts that several tabs share: a map over the picture, classes as bars, a radio of stages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape, unescape
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from vggviz import plotting as render
from vggviz.app.choices import stage_choices
from vggviz.app.markup import bar, percent
from vggviz.app.result import Floats, Pixels, Result
from vggviz.app.session import Session
from vggviz.app.shell import OPACITY, VIEW, Shell
from vggviz.locales import class_name, text
from vggviz.plotting import data_uri
from vggviz.plotting.scale import colour_scale
from vggviz.types import Grid, Kind, Ranked

__all__ = [
    "asked_stage",
    "bars",
    "cell",
    "html",
    "join",
    "panel",
    "run_buttons",
    "shrink",
    "stage_radio",
    "stage_update",
    "stage_with_attention",
    "text_percent",
]

html = partial(gr.HTML, apply_default_css=False)
"""An HTML component without Gradio's styles."""


def shrink(square: Pixels, side: int) -> Pixels:
    """The picture (S, S, 3) at (side, side, 3), for a tile."""
    small = Image.fromarray(square).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3)
    return np.asarray(small)


def panel(
    lang: str,
    square: Pixels,
    raw: Floats | None,
    alt: str,
    kind: Kind | None = None,
    *,
    mark: str = "",
    bare: bool = False,
) -> str:
    """The HTML of a raw map (h, w) over the picture with its colour bar; of the picture alone where
    the map is flat, and of `alt` alone where it is None. `kind` is that of attention (see
    `colour_scale`). `mark` is HTML that is laid over the picture; `bare` leaves the colour bar out.
    """
    if raw is None:
        return f'<div class="panel"><div class="well none"><span>{escape(alt)}</span></div></div>'
    scale = colour_scale(raw, "raw", kind)
    values = scale.unit(raw)
    if scale.flat:
        values = np.full_like(values, np.nan)
        alt = text(lang, "explore.flat_alt", alt=alt, value=scale.range_text[0])
    image = data_uri(render.overlay(square, values, OPACITY))
    side = len(square)
    below = "" if bare else bar(lang, scale)
    return (
        f'<div class="panel"><div class="well"><img src="{image}" width="{side}" height="{side}" '
        f'alt="{escape(alt)}">{mark}</div>{below}</div>'
    )


def stage_radio(shell: Shell, elem_id: str) -> gr.Radio:
    """A radio of the result's stages; see `stage_update`."""

    def labels(session: Session) -> dict[str, Any]:
        choices = stage_choices(session.current.names, session.lang)
        return {"choices": choices, "label": session.text("explore.stage")}

    part = gr.Radio([], elem_id=elem_id, elem_classes="segments")
    shell.labelled(part, labels)
    return part


def asked_stage(shell: Shell, session: gr.State, stage: gr.Radio) -> gr.State:
    """The state with the stage that a tab is to show, and how often one was asked for: that of the
    first tab after another result (`session`), else the one that was chosen in the tab's `stage`.

    The tab is drawn by its `change`, one event after both: so the last is drawn last.
    """
    asked = gr.State(("", 0))

    def ask(stage: str, asked: tuple[str, int]) -> tuple[str, int]:
        return stage, asked[1] + 1

    session.change(ask, [shell.stage, asked], asked, **VIEW)
    stage.input(ask, [stage, asked], asked, trigger_mode="always_last", **VIEW)
    return asked


def stage_update(session: Session, stage: str) -> Any:
    """The update of a `stage_radio` for another result: its stages, and this one, or the last with
    attention where there is none at this one but elsewhere."""
    result = session.current
    return gr.update(
        choices=stage_choices(result.names, session.lang), value=stage_with_attention(result, stage)
    )


def stage_with_attention(result: Result, stage: str) -> str:
    """This stage, or the last with attention where it has none; the last one of all where the
    network has no such stage."""
    names = result.with_attention or result.names
    return stage if stage in names else names[-1]


def join(lang: str, sentences: Sequence[str]) -> str:
    """Sentences as one text, with the separator of this language."""
    return text(lang, "language.sentences").join(sentences)


def text_percent(probability: float) -> str:
    """A probability in per cent, as plain text: '<0.1%'."""
    return unescape(percent(probability))


def cell(row: int, column: int, grid: Grid) -> str:
    """The outline of one cell of a grid (H, W), to be laid over a picture."""
    height, width = grid
    return (
        f'<i class="cell" style="left:{100 * column / width:.3f}%;top:{100 * row / height:.3f}%;'
        f'width:{100 / width:.3f}%;height:{100 / height:.3f}%"></i>'
    )


def run_buttons(running: bool) -> tuple[Any, Any]:
    """Updates of the buttons that start and stop a long run: only one can be pressed."""
    return gr.update(interactive=not running), gr.update(interactive=running)


def bars(lang: str, ranked: Sequence[Ranked], title: str, target: int | None = None) -> str:
    """Classes with their probabilities as bars; the `target` class is marked."""
    rows = "".join(
        f"<li{' class=target' if one.index == target else ''}>"
        f'<span class="name">{escape(class_name(lang, one.label))}</span>'
        f'<span class="share">{percent(one.probability)}</span>'
        f'<span class="bar"><i style="width:{100 * one.probability:.2f}%"></i></span></li>'
        for one in ranked
    )
    return f'<ol class="bars" aria-label="{escape(title)}">{rows}</ol>'

"""What several tabs draw: a map over the picture, and classes as bars. Labels are text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape, unescape

import gradio as gr
import numpy as np
from PIL import Image

from vggviz import plotting as render
from vggviz.app.markup import bar, block, percent, spread
from vggviz.app.pictures import Floats, Pixels, data_uri
from vggviz.app.shell import OPACITY, Shell
from vggviz.app.tabs import explore
from vggviz.locales import text
from vggviz.types import Grid, Ranked

__all__ = [
    "bars",
    "block",
    "blocks",
    "cell",
    "html",
    "join",
    "panel",
    "shrink",
    "text_percent",
]

html = partial(gr.HTML, apply_default_css=False)
"""A part of a tab that is HTML of its own."""


def shrink(square: Pixels, side: int) -> Pixels:
    """The picture (S, S, 3) for a tile of `side` pixels."""
    small = Image.fromarray(square).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3)
    return np.asarray(small)


def panel(
    lang: str, square: Pixels, raw: Floats | None, alt: str, *, mark: str = "", bare: bool = False
) -> str:
    """A raw map (h, w) over the picture with its colour bar and raw range; the picture stays bare
    where the map is flat. None is an empty place. `mark` is laid over it, `bare` has no bar."""
    if raw is None:
        return f'<div class="panel"><div class="well none"><span>{escape(alt)}</span></div></div>'
    span = spread(raw, "stretch")
    values, _, _ = render.stretch(raw)
    if span.flat:
        values = np.full_like(values, np.nan)
        alt = text(lang, "explore.flat_alt", alt=alt, value=span.ends[0])
    image = data_uri(render.overlay(square, values, OPACITY))
    side = len(square)
    below = "" if bare else bar(lang, span)
    return (
        f'<div class="panel"><div class="well"><img src="{image}" width="{side}" height="{side}" '
        f'alt="{escape(alt)}">{mark}</div>{below}</div>'
    )


def blocks(shell: Shell, elem_id: str) -> gr.Radio:
    """The five stages to choose from."""
    part = gr.Radio(explore.blocks("en")["choices"], elem_id=elem_id, elem_classes="segments")
    shell.labelled(part, explore.blocks)
    return part


def join(lang: str, sentences: Sequence[str]) -> str:
    """Sentences as one text, with what stands between two of them in this language."""
    return text(lang, "language.sentences").join(sentences)


def text_percent(probability: float) -> str:
    """A probability as text that is yet to be escaped."""
    return unescape(percent(probability))


def cell(row: int, column: int, grid: Grid) -> str:
    """The outline of one cell of a grid (H, W), to be laid over a picture."""
    height, width = grid
    return (
        f'<i class="cell" style="left:{100 * column / width:.3f}%;top:{100 * row / height:.3f}%;'
        f'width:{100 / width:.3f}%;height:{100 / height:.3f}%"></i>'
    )


def bars(ranked: Sequence[Ranked], title: str, target: int | None = None) -> str:
    """Classes with their probabilities as bars; the `target` class is marked."""
    rows = "".join(
        f"<li{' class=target' if one.index == target else ''}>"
        f'<span class="name">{escape(one.label)}</span>'
        f'<span class="share">{percent(one.probability)}</span>'
        f'<span class="bar"><i style="width:{100 * one.probability:.2f}%"></i></span></li>'
        for one in ranked
    )
    return f'<ol class="bars" aria-label="{escape(title)}">{rows}</ol>'

"""The network's stages in a row, each with a thumbnail of the attention to this picture."""

from __future__ import annotations

from html import escape

import numpy as np
from PIL import Image

from vggviz import plotting as render
from vggviz.app.markup import badge, colour_scale
from vggviz.app.result import Pixels, Result
from vggviz.locales import text
from vggviz.plotting import data_uri

__all__ = ["strip"]

SIDE = 128
OPACITY = 0.6


def strip(lang: str, result: Result, colormap: str) -> str:
    """A thumbnail of the attention at each stage, or of Grad-CAM where that is no map, named.

    The radio of the stages lies over it, so that a thumbnail is as good as its name.
    """
    small = np.asarray(Image.fromarray(result.square).resize((SIDE, SIDE)))
    cells = "".join(_cell(lang, result, stage, small, colormap) for stage in result.stages)
    return f'<ol aria-hidden="true">{cells}</ol>'


def _cell(lang: str, result: Result, stage: str, small: Pixels, colormap: str) -> str:
    place = result.stages[stage]
    raw = place.gradcam if place.attention is None else place.attention
    key = "channels" if place.attention is None and place.has_attention else "cam"
    key = key if place.attention is None else "attention"
    thumb = small
    if not colour_scale(raw, "stretch").flat:
        thumb = render.overlay(small, render.stretch(raw)[0], OPACITY, colormap)
    remark = ""
    if place.has_attention and result.trained == "nothing":
        remark = badge(text(lang, "explore.untrained"))
    elif place.has_attention and place.gamma is not None and abs(place.gamma) < 0.005:
        remark = badge(text(lang, "explore.ignored_short"))
    return (
        f'<li><img src="{data_uri(thumb)}" width="{SIDE}" height="{SIDE}" alt="">'
        f"<span>{escape(text(lang, f'explore.strip_{key}'))}</span>{remark}</li>"
    )

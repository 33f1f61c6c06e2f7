"""A thumbnail for each stage of the network, in a row."""

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
    """A thumbnail of each stage's attention map, or of Grad-CAM where it has none, with a caption.

    The radio of the stages lies over it, so that a click on a thumbnail chooses the stage.
    """
    small = np.asarray(Image.fromarray(result.square).resize((SIDE, SIDE)))
    cells = "".join(_cell(lang, result, stage, small, colormap) for stage in result.row)
    return f'<ol aria-hidden="true">{cells}</ol>'


def _cell(lang: str, result: Result, stage: str, small: Pixels, colormap: str) -> str:
    stage_maps = result.stages[stage]
    raw = stage_maps.gradcam if stage_maps.attention is None else stage_maps.attention
    key = "channels" if stage_maps.attention is None and stage_maps.has_attention else "cam"
    key = key if stage_maps.attention is None else "attention"
    thumbnail = small
    if not colour_scale(raw, "stretch").flat:
        thumbnail = render.overlay(small, render.stretch(raw)[0], OPACITY, colormap)
    remark = ""
    if stage_maps.has_attention and result.trained == "nothing":
        remark = badge(text(lang, "explore.untrained"))
    elif (
        stage_maps.has_attention and stage_maps.gamma is not None and abs(stage_maps.gamma) < 0.005
    ):
        remark = badge(text(lang, "explore.ignored_short"))
    return (
        f'<li><img src="{data_uri(thumbnail)}" width="{SIDE}" height="{SIDE}" alt="">'
        f"<span>{escape(text(lang, f'explore.strip_{key}'))}</span>{remark}</li>"
    )

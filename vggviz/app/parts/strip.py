"""A thumbnail for each stage of the network, in a row."""

from __future__ import annotations

from html import escape

import numpy as np
from PIL import Image

from vggviz import plotting as render
from vggviz.app.markup import badge
from vggviz.app.result import Pixels, Result
from vggviz.app.view import View
from vggviz.locales import text
from vggviz.plotting import data_uri
from vggviz.plotting.scale import colour_scale

__all__ = ["strip"]

SIDE = 128
OPACITY = 0.6


def strip(lang: str, result: Result, view: View) -> str:
    """A thumbnail of each stage with one kind of map (`view.thumbnails`: Grad-CAM, or attention,
    where stages without such a map show the picture alone), with a caption.

    The radio of the stages lies over it, so that a click on a thumbnail chooses the stage.
    """
    small = np.asarray(Image.fromarray(result.square).resize((SIDE, SIDE)))
    cells = "".join(_cell(lang, result, stage, small, view) for stage in result.row)
    return f'<ol aria-hidden="true">{cells}</ol>'


def _cell(lang: str, result: Result, stage: str, small: Pixels, view: View) -> str:
    stage_maps = result.stages[stage]
    of_attention = view.thumbnails == "attention"
    raw = stage_maps.attention if of_attention else stage_maps.gradcam
    key, thumbnail, remark = "cam", small, ""
    if of_attention:
        key = "attention" if raw is not None else "channels" if stage_maps.has_attention else "none"
    if raw is not None:
        scale = colour_scale(raw, view.scale, stage_maps.kind if of_attention else None)
        if not scale.flat:
            thumbnail = render.overlay(small, scale.unit(raw), OPACITY, view.colours)
    if of_attention and stage_maps.has_attention and result.trained == "nothing":
        remark = badge(text(lang, "explore.untrained"))
    elif (
        of_attention
        and stage_maps.has_attention
        and stage_maps.gamma is not None
        and abs(stage_maps.gamma) < 0.005
    ):
        remark = badge(text(lang, "explore.ignored_short"))
    return (
        f'<li><img src="{data_uri(thumbnail)}" width="{SIDE}" height="{SIDE}" alt="">'
        f"<span>{escape(text(lang, f'explore.strip_{key}'))}</span>{remark}</li>"
    )

"""VGG19's five blocks in a row, each with what this picture looks like there."""

from __future__ import annotations

from html import escape

import numpy as np
from PIL import Image

from vggviz import plotting as render
from vggviz.app.markup import badge, spread
from vggviz.app.pictures import Pixels, Shown, data_uri
from vggviz.locales import text

__all__ = ["strip"]

SIDE = 128
OPACITY = 0.6


def strip(lang: str, shown: Shown, colormap: str) -> str:
    """A thumbnail of the attention at each block, or of Grad-CAM where it has no map, said so.

    The radio of the stages lies over it, so that a thumbnail is as good as its name.
    """
    small = np.asarray(Image.fromarray(shown.square).resize((SIDE, SIDE)))
    cells = "".join(_cell(lang, shown, stage, small, colormap) for stage in shown.places)
    return f'<ol aria-hidden="true">{cells}</ol>'


def _cell(lang: str, shown: Shown, stage: str, small: Pixels, colormap: str) -> str:
    place = shown.places[stage]
    raw = place.gradcam if place.attention is None else place.attention
    key = "channels" if place.attention is None and place.weighs else "cam"
    key = key if place.attention is None else "attention"
    thumb = small
    if not spread(raw, "stretch").flat:
        thumb = render.overlay(small, render.stretch(raw)[0], OPACITY, colormap)
    remark = ""
    if place.weighs and shown.trained == "nothing":
        remark = badge(text(lang, "explore.untrained"))
    elif place.weighs and place.gamma is not None and abs(place.gamma) < 0.005:
        remark = badge(text(lang, "explore.ignored_short"))
    return (
        f'<li><img src="{data_uri(thumb)}" width="{SIDE}" height="{SIDE}" alt="">'
        f"<span>{escape(text(lang, f'explore.strip_{key}'))}</span>{remark}</li>"
    )

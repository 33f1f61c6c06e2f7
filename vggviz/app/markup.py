"""The HTML that all parts of the page share: numbers, names, badges, colour bars, overlays.

Labels, names and sentences are text, and are escaped here, at the last moment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

import numpy as np

from vggviz import plotting as render
from vggviz.app.result import Floats, Pixels
from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.images import Crop
from vggviz.locales import text, translated
from vggviz.plotting import data_uri
from vggviz.plotting.numbers import number
from vggviz.plotting.scale import ColourScale
from vggviz.plotting.stages import headings

__all__ = [
    "attention_explanation",
    "attention_title",
    "badge",
    "bar",
    "canvas",
    "heat",
    "method_explanation",
    "method_title",
    "number",
    "percent",
    "placeholder",
    "size",
    "stage_title",
    "stage_titles",
]

TITLE = 16  # characters of a stage's title in a row of stages


def attention_title(lang: str, attention: str) -> str:
    """The title of an attention type or of 'none', in this language if it is translated; else of
    the kinds that were found in a network ('channel, spatial')."""
    found = text(lang, "attention.found.name", kinds=attention)
    english = ATTENTION[attention].title if attention in ATTENTION else found
    return translated(lang, f"attention.{attention}.name", english)


def attention_explanation(lang: str, attention: str) -> str:
    """One sentence on what an attention type, or 'none', does."""
    found = text(lang, "attention.found.line")
    english = ATTENTION[attention].explanation if attention in ATTENTION else found
    return translated(lang, f"attention.{attention}.line", english)


def method_title(lang: str, method: str) -> str:
    """The title of a CAM method in this language if it is translated."""
    return translated(lang, f"method.{method}.name", METHODS[method].title)


def method_explanation(lang: str, method: str) -> str:
    """One sentence on how a CAM method computes its map."""
    return translated(lang, f"method.{method}.line", METHODS[method].explanation)


def stage_title(lang: str, stage: str) -> str:
    """What a stage is called: 'Block 4' for 'block4', else its own name."""
    numbered = re.fullmatch("block([0-9]+)", stage)
    return text(lang, "explore.block", number=numbered[1]) if numbered else stage


def stage_titles(lang: str, stages: Sequence[str]) -> dict[str, str]:
    """The title of each stage by its name; names of more than `TITLE` characters are shortened to
    parts in which they differ."""
    short = headings(stages, lambda name: len(name) <= TITLE)
    return {stage: stage_title(lang, short[stage]) for stage in stages}


def heat(raw: Floats, scale: ColourScale, colormap: str, side: int) -> Pixels:
    """The raw map (h, w) in the colours of `colormap`, (side, side, 3)."""
    rgb = 255 * render.colours(render.resize(scale.unit(raw), (side, side)), colormap)
    return np.rint(rgb).astype(np.uint8)


def canvas(
    picture: Pixels,
    alt: str,
    layer: Pixels | None = None,
    box: Crop | None = None,
    kind: str = "jpeg",
) -> str:
    """A square with the picture, and a map's colours (`layer`) over all of it or over its `box`.

    The style sheet blends them: (1 − opacity) · picture + opacity · colours.
    """
    height, width = picture.shape[:2]
    pixels = "coarse" if max(height, width) < 128 else "fine"
    position = ""
    if box is not None:
        longer = max(box.width, box.height)
        x, y = (longer - box.width) / 2 + box.left, (longer - box.height) / 2 + box.top
        parts = {
            "left": x,
            "top": y,
            "width": box.right - box.left,
            "height": box.bottom - box.top,
        }
        position = "".join(f"{name}:{100 * part / longer:.3f}%;" for name, part in parts.items())
    over = ""
    if layer is not None:
        over = f'<img class="heat" style="{position}" src="{data_uri(layer)}" alt="">'
    elif box is not None:
        over = f'<i class="frame" style="{position}"></i>'
    return (
        f'<div class="canvas"><img class="base {pixels}" width="{width}" height="{height}" '
        f'src="{data_uri(picture, kind)}" alt="{escape(alt)}">{over}</div>'
    )


def bar(lang: str, scale: ColourScale, colormap: str = render.COLORMAPS[0]) -> str:
    """The colour bar with its raw numbers, and under it a line along the values of the map."""
    low, high = scale.range_text
    if scale.flat:
        value = escape(text(lang, "explore.flat", value=low))
        return f'<div class="scale"><b>{value}</b></div>'
    stops = render.gradient(colormap)
    used = ""
    if math.isfinite(scale.least):
        left, right = scale.span
        used = f'<u style="left:{100 * left:.1f}%;right:{100 - 100 * right:.1f}%"></u>'
    return (
        f'<div class="scale"><b>{low}</b><i style="background:linear-gradient(90deg,{stops})">'
        f"{used}</i><b>{high}</b></div>"
    )


def badge(remark: str) -> str:
    """A short remark that stands out."""
    return f'<strong class="badge">{escape(remark)}</strong>'


def placeholder(sentence: str, hint: str = "", style: str = "instead") -> str:
    """The HTML in the place of a map or a chart that there is not: a sentence, and a hint."""
    more = f"<p>{escape(hint)}</p>" if hint else ""
    return f'<div class="{style}"><p>{escape(sentence)}</p>{more}</div>'


def size(map: Floats) -> str:
    """'10 × 10', unbroken."""
    return f"{map.shape[1]}\xa0×\xa0{map.shape[0]}"


def percent(probability: float) -> str:
    """A share in per cent, as HTML: '2.3%', '50%', '>99.9%'."""
    percent = 100 * probability
    if 0 < percent < 0.1:
        return "&lt;0.1%"
    if 99.95 <= percent < 100:
        return "&gt;99.9%"
    return f"{percent:.1f}%" if percent < 10 or 99 < percent < 100 else f"{percent:.0f}%"

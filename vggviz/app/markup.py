"""What all parts of the page are drawn with: numbers, names, badges, colour bars, overlays.

Labels, names and sentences are text, and are escaped here, at the last moment.
"""

from __future__ import annotations

import math
from html import escape
from typing import NamedTuple

import numpy as np

from vggviz import plotting as render
from vggviz.app.pictures import Floats, Pixels, data_uri
from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.images import Crop
from vggviz.locales import TEXTS, text
from vggviz.plotting.panels import number
from vggviz.types import Kind

__all__ = [
    "Span",
    "badge",
    "bar",
    "block",
    "canvas",
    "described",
    "ends",
    "heat",
    "instead",
    "method_explanation",
    "method_title",
    "named",
    "number",
    "percent",
    "size",
    "spread",
]

GATES = ("channel", "spatial", "volume")  # weights between 0 and 1; the others are shares


class Span(NamedTuple):
    """The raw numbers at the two ends of a colour scale; `flat` where the map has but one."""

    low: float
    high: float
    flat: bool

    @property
    def ends(self) -> tuple[str, str]:
        """Both as text."""
        return ends(self.low, self.high)


def named(lang: str, attention: str) -> str:
    """The title of an attention type, or of 'none', in this language if it is translated."""
    english = ATTENTION[attention].title if attention in ATTENTION else ""
    return _translated(lang, f"attention.{attention}.name", english)


def described(lang: str, attention: str) -> str:
    """One sentence on what an attention type, or 'none', does."""
    english = ATTENTION[attention].explanation if attention in ATTENTION else ""
    return _translated(lang, f"attention.{attention}.line", english)


def method_title(lang: str, method: str) -> str:
    """The title of a CAM method in this language if it is translated."""
    return _translated(lang, f"method.{method}.name", METHODS[method].title)


def method_explanation(lang: str, method: str) -> str:
    """One sentence on how a CAM method computes its map."""
    return _translated(lang, f"method.{method}.line", METHODS[method].explanation)


def _translated(lang: str, key: str, english: str) -> str:
    return TEXTS.get(lang, TEXTS["en"]).get(key, english)


def block(lang: str, stage: str) -> str:
    """What a stage is called."""
    return text(lang, "explore.block", number=stage[-1])


def spread(raw: Floats, scale: str, kind: Kind | None = None, top: float = 0.0) -> Span:
    """What the two ends of a map's colours stand for.

    'stretch': its own smallest and largest value. 'raw': from 0 (or below) to what is comparable
    between maps: 1 for gates, else the largest value, at least `top`.
    """
    _, low, high = render.stretch(raw)
    flat = not high - low > 1e-6 * max(abs(low), abs(high))  # but for rounding of float32
    if scale == "raw" and math.isfinite(low):
        return Span(min(0.0, low), max(1.0 if kind in GATES else 0.0, high, top), flat)
    return Span(low, high, flat)


def heat(raw: Floats, span: Span, colormap: str, side: int) -> Pixels:
    """The map's colours, (side, side, 3)."""
    wide = span.high - span.low
    values = (raw - np.float32(span.low)) / np.float32(wide if wide > 0 else 1)
    painted = 255 * render.colours(render.resize(values, (side, side)), colormap)
    return np.rint(painted).astype(np.uint8)


def canvas(
    picture: Pixels,
    alt: str,
    layer: Pixels | None = None,
    box: Crop | None = None,
    kind: str = "jpeg",
) -> str:
    """A square with the picture, and a map's colours over all of it or over its `box`.

    Style blends them: (1 − opacity) · picture + opacity · colours.
    """
    height, width = picture.shape[:2]
    look = "coarse" if max(height, width) < 128 else "fine"
    place = ""
    if box is not None:
        longer = max(box.width, box.height)
        x, y = (longer - box.width) / 2 + box.left, (longer - box.height) / 2 + box.top
        parts = {
            "left": x,
            "top": y,
            "width": box.right - box.left,
            "height": box.bottom - box.top,
        }
        place = "".join(f"{name}:{100 * part / longer:.3f}%;" for name, part in parts.items())
    over = ""
    if layer is not None:
        over = f'<img class="heat" style="{place}" src="{data_uri(layer)}" alt="">'
    elif box is not None:
        over = f'<i class="frame" style="{place}"></i>'
    return (
        f'<div class="canvas"><img class="base {look}" width="{width}" height="{height}" '
        f'src="{data_uri(picture, kind)}" alt="{escape(alt)}">{over}</div>'
    )


def bar(lang: str, span: Span, colormap: str = render.COLORMAPS[0]) -> str:
    """The colour bar with its raw numbers."""
    low, high = span.ends
    if span.flat:
        value = escape(text(lang, "explore.flat", value=low))
        return f'<div class="scale"><b>{value}</b></div>'
    stops = render.gradient(colormap)
    return (
        f'<div class="scale"><b>{low}</b><i style="background:linear-gradient(90deg,{stops})"></i>'
        f"<b>{high}</b></div>"
    )


def badge(remark: str) -> str:
    """A short remark that must not be overlooked."""
    return f'<strong class="badge">{escape(remark)}</strong>'


def instead(sentence: str, hint: str = "", look: str = "instead") -> str:
    """What stands where there is nothing to show, and what to do about it."""
    more = f"<p>{escape(hint)}</p>" if hint else ""
    return f'<div class="{look}"><p>{escape(sentence)}</p>{more}</div>'


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


def ends(low: float, high: float) -> tuple[str, str]:
    """Both numbers with as few digits, from two up, as tell them apart."""
    for digits in range(2, 8):
        found = number(low, digits), number(high, digits)
        if found[0] != found[1]:
            return found
    return number(low, 2), number(high, 2)

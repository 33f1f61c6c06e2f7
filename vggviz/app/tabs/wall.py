"""The wall of 'All types': every type's map of the picture, its answer, and how it works."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple, Protocol

import numpy as np

from vggviz import plotting as render
from vggviz.app.diagrams import drawing
from vggviz.app.examples import example_classes, is_shown
from vggviz.app.markup import (
    attention_explanation,
    attention_title,
    bar,
    heat,
    percent,
    stage_title,
)
from vggviz.app.result import Floats, Result
from vggviz.app.tabs.panels import shrink
from vggviz.locales import class_name, text
from vggviz.plotting import data_uri
from vggviz.plotting.scale import colour_scale
from vggviz.types import Kind, Ranked

__all__ = ["POINT", "Channels", "wall"]

SIDE, LAYER = 420, 160  # pixels a side of the picture, and of the colours that are enlarged over it
MOST = 40  # channels that are drawn


class Channels(NamedTuple):
    """Weights of channels (C,), and how much each counts (C,): see `parts.channels.effects`."""

    weights: Floats
    effects: Floats


class Entry(Protocol):
    """What the wall shows of one attention type: see `all_types.Row`."""

    @property
    def attention(self) -> str: ...
    @property
    def first(self) -> Ranked: ...
    @property
    def stage(self) -> str: ...
    @property
    def map(self) -> Floats | None: ...
    @property
    def kind(self) -> Kind | None: ...
    @property
    def channels(self) -> Channels | None: ...
    @property
    def gradcam(self) -> Floats: ...


def wall(lang: str, result: Result, entries: Sequence[Entry], types: Sequence[str]) -> str:
    """A figure for each type, those to come empty; 'POINT' marks a place in all of them.

    The picture is sent once, as the style sheet's `--square`.
    """
    done = {one.attention: one for one in entries}
    figures = "".join(_figure(lang, result, key, done.get(key)) for key in types)
    picture = data_uri(shrink(result.square, SIDE), "jpeg")
    return (
        f'<div class="wall" style="--columns:3;--square:url({picture})" '
        f"{'data-complete' if len(done) == len(types) else ''}>{figures}</div>"
    )


def _figure(lang: str, result: Result, key: str, one: Entry | None) -> str:
    name = escape(attention_title(lang, key))
    current = " current" if key == result.attention else ""
    says = view = caption = ""
    if one is not None:
        mark = ""
        if example_classes(result.request.path):
            right = is_shown(result.request.path, one.first.label)
            mark = f'<b class="{"right" if right else "wrong"}">{"✓" if right else "✗"}</b> '
        label = escape(class_name(lang, one.first.label))
        says = f"{mark}{label} <span>{percent(one.first.probability)}</span>"
        view, caption = _view(lang, key, one)
    return (
        f'<figure class="kind{current}"><header><h2>{name}</h2><p class="truth">{says}</p></header>'
        f'<div class="place">{view}</div><figcaption>{caption}</figcaption>'
        f'<div class="mechanism"><p>{escape(attention_explanation(lang, key))}</p>'
        f"{drawing(lang, key)}</div></figure>"
    )


def _view(lang: str, key: str, one: Entry) -> tuple[str, str]:
    """The map over the picture, or the channels where the attention is no map, or Grad-CAM where
    there is no attention; and what stands below."""
    if one.map is None and one.channels is not None:
        return _chart(lang, one.channels), f"<p>{escape(text(lang, 'types.chart'))}</p>"
    raw, kind, name = one.gradcam, None, "gradcam"
    if one.map is not None:
        raw, kind, name = one.map, one.kind, "attention"
    scale = colour_scale(raw, "raw", kind)
    title = text(lang, f"types.{name}")
    alt = text(
        lang,
        "types.alt",
        map=title,
        type=attention_title(lang, key),
        block=stage_title(lang, one.stage),
    )
    layer = ""
    if not scale.flat:
        layer = data_uri(heat(raw, scale, render.COLORMAPS[0], LAYER), "jpeg")
        layer = f'<img src="{layer}" width="{LAYER}" height="{LAYER}" alt="{escape(alt)}">'
    note = title if name == "gradcam" else ""
    if scale.nearly_flat:
        note = text(lang, "explore.nearly_flat")
    return f'<div class="over">{layer}</div>', f"{bar(lang, scale)}<p>{escape(note)}</p>"


def _chart(lang: str, channels: Channels) -> str:
    """The channels that count most as bars: the height is the weight, the colour says whether a
    channel speaks for or against the class, its strength how much."""
    order = np.argsort(-np.abs(channels.effects), kind="stable")[:MOST]
    top = float(np.abs(channels.effects).max()) or 1.0
    bars = "".join(
        f'<rect class="{"for" if effect >= 0 else "against"}" x="{x + 0.12:g}" '
        f'y="{100 - 100 * height:.1f}" width="0.76" height="{100 * height:.1f}" '
        f'fill-opacity="{0.25 + 0.75 * abs(effect) / top:.2f}"/>'
        for x, i in enumerate(order)
        for effect, height in [
            (float(channels.effects[i]), float(np.clip(channels.weights[i], 0, 1)))
        ]
    )
    label = escape(text(lang, "types.chart_alt", count=len(order), all=len(channels.weights)))
    return (
        f'<svg viewBox="0 0 {len(order)} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}"><path d="M0 0H{len(order)}M0 50H{len(order)}M0 100H{len(order)}"/>'
        f"{bars}</svg>"
    )


POINT = """
element.addEventListener("pointermove", (event) => {
  const place = event.target.closest?.(".place"), wall = element.querySelector(".wall");
  if (!wall) return;
  wall.classList.toggle("pointing", Boolean(place?.querySelector(".over")));
  if (!place) return;
  const box = place.getBoundingClientRect();
  wall.style.setProperty("--x", `${100 * (event.clientX - box.left) / box.width}%`);
  wall.style.setProperty("--y", `${100 * (event.clientY - box.top) / box.height}%`);
});
element.addEventListener("pointerleave", () => {
  element.querySelector(".wall")?.classList.remove("pointing");
});
"""
"""The wall's script: where one points in one map is marked in all."""

"""The channel weights as a sorted chart, and one channel's features before and after weighting."""

from __future__ import annotations

from html import escape

import numpy as np

from vggviz.app.markup import (
    ColourScale,
    bar,
    heat,
    number,
    placeholder,
    range_text,
    stage_title,
)
from vggviz.app.parts.maps import why_no_attention
from vggviz.app.result import Floats, Result
from vggviz.locales import text
from vggviz.plotting import data_uri

__all__ = ["CHOOSE", "channel", "channels"]

SIDE = 160

CHOOSE = """
element.addEventListener("input", (event) => {
  const chosen = event.target;
  if (chosen.matches("input[type=range]")) trigger("select", {rank: Number(chosen.value)});
});
"""
"""The chart's script: a move of its slider is a `select` event with the channel's rank."""


def channels(lang: str, result: Result, stage: str) -> str:
    """The channel weights of one stage from the highest down, as a chart from 0 to 1.

    A range input of the chart's size lies over it: a click or an arrow key chooses a channel.
    """
    weights = result.stages[stage].channels
    title = escape(text(lang, "explore.weights"))
    if weights is None:
        sentence, _ = why_no_attention(lang, result, stage)
        return f'<h2>{title}</h2><div class="chart">{placeholder(sentence)}</div>'
    order = ranking(weights)
    count, first, last = len(order), int(order[0]), int(order[-1])
    low, high = range_text(float(weights[last]), float(weights[first]))
    line = "".join(f"V{100 - 100 * weights[i]:.2f}H{x}" for x, i in enumerate(order, 1))
    top = f"{100 - 100 * weights[first]:.2f}"
    extremes = escape(text(lang, "explore.ends", high=high, first=first, low=low, last=last))
    sorted_ = escape(text(lang, "explore.sorted", count=count, block=stage_title(lang, stage)))
    label = escape(text(lang, "explore.chart", ends=extremes))
    return (
        f"<h2>{title} <small>{sorted_}</small></h2>"
        f'<div class="chart"><div class="axis" aria-hidden="true"><i>1</i><i>½</i><i>0</i></div>'
        f'<div class="plot"><svg viewBox="0 0 {count} 100" preserveAspectRatio="none" '
        f'aria-hidden="true"><path class="grid" d="M0 0H{count}M0 50H{count}M0 100H{count}"/>'
        f'<path class="area" d="M0 100{line}V100Z"/><path class="line" d="M0 {top}{line}"/></svg>'
        f'<input type="range" min="1" max="{count}" value="1" aria-label="{label}"></div></div>'
        f'<p class="caption">{extremes}</p>'
    )


def channel(lang: str, result: Result, stage: str, rank: int, colormap: str) -> str:
    """'feature × weight = result' for the channel of this rank (from 1), both maps on one scale."""
    stage_maps = result.stages[stage]
    if stage_maps.channels is None or stage_maps.features is None or stage_maps.weighed is None:
        return ""
    order = ranking(stage_maps.channels)
    rank = min(max(rank, 1), len(order))
    index = int(order[rank - 1])
    before = stage_maps.features[index].astype(np.float32)
    after = stage_maps.weighed[index].astype(np.float32)
    scale = ColourScale(
        float(min(before.min(), after.min(), 0)), float(max(before.max(), after.max())), False
    )
    volume = stage_maps.kind == "volume"
    weight = number(float(stage_maps.channels[index]), 3)
    tiles = [
        _tile(before, scale, colormap, text(lang, "explore.feature_alt", index=index)),
        f"<b>{weight}</b>",
        _tile(after, scale, colormap, text(lang, "explore.result_alt")),
    ]
    names = ("feature", "mean_weight" if volume else "weight", "result")
    parts = [
        f"<div>{tile}<span>{escape(text(lang, f'explore.{name}'))}</span></div>"
        for tile, name in zip(tiles, names, strict=True)
    ]
    title = text(lang, "explore.channel", index=index, rank=rank, count=len(order))
    return (
        f'<h2>{escape(title)}</h2><div class="product" role="status">{parts[0]}<i>×</i>{parts[1]}'
        f"<i>=</i>{parts[2]}</div>{bar(lang, scale, colormap)}"
    )


def ranking(weights: Floats) -> list[int]:
    """The channels from the highest weight down."""
    return [int(index) for index in np.argsort(-weights, kind="stable")]


def _tile(values: Floats, scale: ColourScale, colormap: str, alt: str) -> str:
    pixels = heat(values, scale, colormap, SIDE)
    return f'<img src="{data_uri(pixels)}" width="{SIDE}" height="{SIDE}" alt="{escape(alt)}">'

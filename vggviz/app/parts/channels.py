"""The channels, those that count most first, and one channel's features and their weighted copy."""

from __future__ import annotations

from html import escape

import numpy as np

from vggviz.app.markup import bar, heat, number, placeholder, stage_title
from vggviz.app.parts.maps import why_no_attention
from vggviz.app.result import Floats, Result, StageMaps
from vggviz.locales import class_name, text
from vggviz.plotting import data_uri
from vggviz.plotting.numbers import range_text
from vggviz.plotting.scale import ColourScale, colour_scale

__all__ = ["CHOOSE", "channel", "channels"]

SIDE = 160

CHOOSE = """
const data = {}; // one object: an event that had to wait comes with the data of the first one
element.addEventListener("input", (event) => {
  if (!event.target.matches("input[type=range]")) return;
  data.rank = Number(event.target.value);
  trigger("select", data);
});
"""
"""The chart's script: a move of its slider is a `select` event with the channel's rank."""


def channels(lang: str, result: Result, stage: str) -> str:
    """The channels of one stage from the one that counts most down (see `ranking`), as a chart from
    0 to 1: an area of how much each counts, as a share of the first, and a dot at its weight.

    A range input of the chart's size lies over it: a click or an arrow key chooses a channel.
    """
    stage_maps = result.stages[stage]
    weights = stage_maps.channels
    title = escape(text(lang, "explore.weights"))
    if weights is None:
        sentence, _ = why_no_attention(lang, result, stage)
        return f'<h2>{title}</h2><div class="chart">{placeholder(sentence)}</div>'
    effect = np.abs(effects(stage_maps))
    order = ranking(stage_maps)
    count, silent = len(order), int((effect == 0).sum())
    highest, lowest = int(weights.argmax()), int(weights.argmin())
    low, high = range_text(float(weights[lowest]), float(weights[highest]))
    share = 100 * effect / (float(effect.max()) or 1.0)
    line = "".join(f"V{100 - share[i]:.1f}H{x}" for x, i in enumerate(order, 1))
    dots = "".join(
        f"M{x}.5 {100 - 100 * min(max(float(weights[i]), 0.0), 1.0):.1f}h0"
        for x, i in enumerate(order)
    )
    ends = text(lang, "explore.ends", high=high, first=highest, low=low, last=lowest)
    if silent:
        ends = text(lang, "language.and").join(
            [ends, text(lang, "explore.silent", silent=silent, count=count)]
        )
    sorted_ = escape(text(lang, "explore.sorted", count=count, block=stage_title(lang, stage)))
    label = escape(text(lang, "explore.chart", ends=ends))
    legend = "".join(
        f'<i class="{name}"></i>{escape(text(lang, f"explore.chart_{name}"))} '
        for name in ("effect", "dots")
    )
    return (
        f"<h2>{title} <small>{sorted_}</small></h2>"
        f'<div class="chart"><div class="axis" aria-hidden="true"><i>1</i><i>½</i><i>0</i></div>'
        f'<div class="plot"><svg viewBox="0 0 {count} 100" preserveAspectRatio="none" '
        f'aria-hidden="true"><path class="grid" d="M0 0H{count}M0 50H{count}M0 100H{count}"/>'
        f'<path class="area" d="M0 100{line}V100Z"/><path class="dots" d="{dots}"/></svg>'
        f'<input type="range" min="1" max="{count}" value="1" aria-label="{label}"></div></div>'
        f'<p class="caption"><span class="key">{legend}</span>{escape(ends)}</p>'
    )


def channel(lang: str, result: Result, stage: str, rank: int, colormap: str) -> str:
    """'feature × weight = result' for the channel of this rank (from 1), both maps on one scale."""
    stage_maps = result.stages[stage]
    if stage_maps.channels is None or stage_maps.features is None or stage_maps.weighed is None:
        return ""
    order = ranking(stage_maps)
    rank = min(max(rank, 1), len(order))
    index = int(order[rank - 1])
    before = stage_maps.features[index].astype(np.float32)
    after = stage_maps.weighed[index].astype(np.float32)
    scale = colour_scale(np.stack((before, after)))
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
    effect = float(effects(stage_maps)[index])
    key = "silent_one" if effect == 0 else "speaks_for" if effect > 0 else "speaks_against"
    speaks = escape(text(lang, f"explore.{key}", label=class_name(lang, result.target.label)))
    return (
        f'<h2 data-rank="{rank}" data-speaks="{key}">{escape(title)} '
        f"<small>{speaks}</small></h2>"
        f'<div class="product" role="status">{parts[0]}<i>×</i>{parts[1]}'
        f"<i>=</i>{parts[2]}</div>{bar(lang, scale, colormap)}"
    )


def effects(stage_maps: StageMaps) -> Floats:
    """How much each channel counts, (C,): what it contributes to the score of the class
    (`StageMaps.contributions`), its weight included. Where the stage's output has other channels
    than the attention weighs, the weight times the mean feature. 0 for a dead channel."""
    weights, contributions = stage_maps.channels, stage_maps.contributions
    assert weights is not None
    if contributions is not None and contributions.shape == weights.shape:
        return contributions
    if stage_maps.weighed is not None:
        return stage_maps.weighed.astype(np.float32).mean((1, 2))
    return weights


def ranking(stage_maps: StageMaps) -> list[int]:
    """The channels from the one with the largest |effect| down: see `effects`."""
    return [int(index) for index in np.argsort(-np.abs(effects(stage_maps)), kind="stable")]


def _tile(values: Floats, scale: ColourScale, colormap: str, alt: str) -> str:
    pixels = heat(values, scale, colormap, SIDE)
    return f'<img src="{data_uri(pixels)}" width="{SIDE}" height="{SIDE}" alt="{escape(alt)}">'

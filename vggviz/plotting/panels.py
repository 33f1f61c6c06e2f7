"""What a result has to show, stage by stage, with the words and numbers that belong under it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from vggviz.plotting.maps import Map, stretch
from vggviz.plotting.stages import in_order
from vggviz.types import AttentionRecord, Heatmap

ACCENT, GREY = "#b3440a", "#59636e"
# What is shown of attention that is no map by itself.
VIEWS = {
    "volume": "mean over channels",
    "axis": "mean over channels",
    "token": "received by each position",
}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Panel(NamedTuple):
    """A map (H, W) or channel weights (C,) in [0, 1], and what must be said: notes by colour.

    `kind` is a kind of attention, such as 'channel attention', or the key of a CAM method; `title`
    is how it is shown.
    """

    kind: str
    title: str
    values: Map
    low: float
    high: float
    flat: bool
    size: str
    ends: tuple[str, ...]
    notes: list[tuple[str, str]]


def _panel(kind: str, title: str, values: Map, low: float, high: float, remark: str = "") -> Panel:
    spread = high - low
    # No more than float32's rounding tells the values apart, or there is none.
    flat = not spread > 1e-6 * max(abs(low), abs(high))
    # As many digits as it takes to tell the ends apart, or, beyond what fits, their difference.
    pairs = [(number(low, digits), number(high, digits)) for digits in (3, 4, 5)]
    offset = (number(low, 3), f"+{number(spread, 2)}")
    least, most = next((p for p in pairs if p[0] != p[1] and len(max(p, key=len)) < 12), offset)
    ends = (f"{least} … {most}",) if values.ndim == 1 else (least, most)
    if flat:
        ends = (f"{least} everywhere" if math.isfinite(low) else "no numbers",)
    notes = [(remark, GREY)] if remark else []
    if not flat and spread < 0.02 * high:  # stretched colours exaggerate
        share = f"{number(spread, 2)} ({number(100 * spread / high, 1)}%)"
        notes.insert(0, (f"range only {share}", ACCENT))
    return Panel(kind, title, values, low, high, flat, size(values), ends, notes)


def size(shown: npt.NDArray[Any]) -> str:
    """Width × height of a map or a picture, or how many channels."""
    return f"{len(shown)} channels" if shown.ndim == 1 else f"{shown.shape[1]}×{len(shown)}"


def panels(
    attention: Mapping[str, Sequence[AttentionRecord]],
    heatmaps: Mapping[tuple[str, str], Heatmap],
    order: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> list[dict[str, Panel]]:
    """Panels by stage, row by row: one for each kind of attention, then one for each method.

    The stages of every row stand in one order: see `stages.in_order`. `titles` are those of methods
    by key; a method without a title is named by its key.
    """
    stages = in_order((*(stage for stage, _ in heatmaps), *attention), order)
    found: dict[tuple[str, int], dict[str, Panel]] = {}
    for stage, records in attention.items():
        for record in records:
            kind, remark = f"{record.kind} attention", VIEWS.get(record.kind, "")
            for view in record.views:
                nth = sum(stage in row for (known, _), row in found.items() if known == kind)
                panel = _panel(kind, kind, *stretch(view.numpy()), remark)
                found.setdefault((kind, nth), {})[stage] = panel
    for (stage, method), map in heatmaps.items():
        remark = "knows no class" if map.target is None else ""
        title = (titles or {}).get(method, method)
        panel = _panel(method, title, map.values.numpy(), map.low, map.high, remark)
        found.setdefault((method, -1), {})[stage] = panel
    return [{stage: row[stage] for stage in stages if stage in row} for row in found.values()]


def number(value: float, digits: int) -> str:
    """With so many significant digits, in letters that a page can set: 3.21×10⁻⁷; '–' for none."""
    if not math.isfinite(value):
        return "–"
    mantissa, _, exponent = f"{value:#.{digits}g}".partition("e")
    power = f"×10{str(int(exponent)).translate(SUPERSCRIPT)}" if exponent else ""
    return (mantissa.rstrip(".").replace("-", "−") + power) if value else "0"

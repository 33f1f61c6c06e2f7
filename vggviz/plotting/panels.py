"""The panels of a result, row by row and stage by stage, with the words and numbers under them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vggviz.locales import section, text
from vggviz.plotting.maps import Map
from vggviz.plotting.numbers import number, range_text
from vggviz.plotting.scale import ColourScale, colour_scale
from vggviz.types import AttentionRecord, Heatmap

ACCENT, GREY = "#b3440a", "#59636e"
# Attention that is no map by itself is shown as one: 'figure.<text>' says how.
VIEWS = {"volume": "mean", "axis": "mean", "token": "received"}


class Panel(NamedTuple):
    """A map (H, W) or channel weights (C,): raw `values`, NaN for what is not finite, and their
    colour `scale`.

    `kind` is a kind of attention, such as 'channel attention', or the key of a CAM method; `title`
    is how it is shown. `target` is the class of a method's map, None where it knows no class.
    `size` is width × height or the number of channels. `ends` are two texts, what the ends of a
    map's colours stand for, or one: the range of channel weights, or the one value of all.
    `remark` is what else is said ('' for nothing).
    """

    kind: str
    title: str
    target: int | None
    values: Map
    scale: ColourScale
    size: str
    ends: tuple[str, ...]
    remark: str

    @property
    def unit(self) -> Map:
        """The values as shares of the colour range."""
        return self.scale.unit(self.values)


class Panels(NamedTuple):
    """`rows` of panels by stage, and all `stages` in the order of their columns."""

    stages: list[str]
    rows: list[dict[str, Panel]]


def panels(
    attention: Mapping[str, Sequence[AttentionRecord]],
    heatmaps: Mapping[tuple[str, str], Heatmap],
    titles: Mapping[str, str] | None = None,
    lang: str = "en",
    scale: str = "raw",
) -> Panels:
    """One row for each kind of `attention`, by stage, then one for each method of `heatmaps`, by
    (stage, method); stages stand as they come. `titles` are those of methods, by default their
    keys. `scale` is that of the colours: see `colour_scale`."""
    words = section(lang, "figure")
    rows: dict[tuple[str, int], dict[str, Panel]] = {}
    for stage, records in attention.items():
        for record in records:
            kind, view_name = f"{record.kind} attention", VIEWS.get(record.kind)
            remark = words[view_name] if view_name else ""
            for view in record.views:
                nth = sum(stage in row for (other, _), row in rows.items() if other == kind)
                raw, title = view.numpy(), words[record.kind]
                colours = colour_scale(raw, scale, record.kind)
                panel = _panel(words, kind, title, None, remark, raw, colours)
                rows.setdefault((kind, nth), {})[stage] = panel
    for (stage, method), map in heatmaps.items():
        remark = words["no_class"] if map.target is None else ""
        title = (titles or {}).get(method, method)
        raw = map.raw.numpy()
        panel = _panel(words, method, title, map.target, remark, raw, colour_scale(raw, scale))
        rows.setdefault((method, -1), {})[stage] = panel
    stages = dict.fromkeys((*(stage for stage, _ in heatmaps), *attention))
    used = [stage for stage in stages if any(stage in row for row in rows.values())]
    return Panels(used, [{s: row[s] for s in used if s in row} for row in rows.values()])


def _panel(
    words: Mapping[str, str],
    kind: str,
    title: str,
    target: int | None,
    remark: str,
    raw: Map,
    scale: ColourScale,
) -> Panel:
    ends: tuple[str, ...]
    values = np.where(np.isfinite(raw), raw, np.nan)
    if scale.flat:
        what = "everywhere" if math.isfinite(scale.least) else "no_numbers"
        ends = (words[what].format(value=number(scale.least, 3)),)
    elif values.ndim == 1:
        ends = (" … ".join(_ends(scale.least, scale.most)),)
    else:
        ends = _ends(scale.low, scale.high)
    count = words["channels"].format(count=len(values)) if values.ndim == 1 else size(values)
    return Panel(kind, title, target, values, scale, count, ends, remark)


def _ends(low: float, high: float) -> tuple[str, str]:
    """Both ends of a range, or, where that is too long to stand beside each other, the lower one
    and the difference."""
    ends = range_text(low, high, 3)
    if len(max(ends, key=len)) < 12:
        return ends
    return number(low, 3), f"+{number(high - low, 2)}"


def stage_name(stage: str, lang: str) -> str:
    """'Block 5' of 'block5'; names of other kinds of stages stay as they are."""
    block = re.fullmatch(r"block(\d)", stage)
    return text(lang, "report.block", number=block[1]) if block else stage


def size(pixels: npt.NDArray[Any]) -> str:
    """Width × height of a map or a picture."""
    return f"{pixels.shape[1]}×{len(pixels)}"

"""The panels of a result, row by row and stage by stage, with the words and numbers under them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from vggviz.locales import section, text
from vggviz.plotting.maps import Map, stretch
from vggviz.types import AttentionRecord, Heatmap

ACCENT, GREY = "#b3440a", "#59636e"
# Attention that is no map by itself is shown as one: 'figure.<text>' says how.
VIEWS = {"volume": "mean", "axis": "mean", "token": "received"}
NARROW = 0.02  # a range below this share of the largest value is pointed out: colours exaggerate it
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Panel(NamedTuple):
    """A map (H, W) or channel weights (C,), `values` in [0, 1], with the raw range `low` to `high`.

    `kind` is a kind of attention, such as 'channel attention', or the key of a CAM method; `title`
    is how it is shown. `target` is the class of a method's map, None where it knows no class.
    `flat` maps have one value only. `size` is width × height or the number of channels, `ends` the
    raw range as one or two texts, `remark` what else is said ('' for nothing).
    """

    kind: str
    title: str
    target: int | None
    values: Map
    low: float
    high: float
    flat: bool
    size: str
    ends: tuple[str, ...]
    remark: str

    @property
    def narrow(self) -> float:
        """(high − low) / high where that is below `NARROW`, and else 0."""
        spread = self.high - self.low
        return spread / self.high if not self.flat and spread < NARROW * self.high else 0.0


class Panels(NamedTuple):
    """`rows` of panels by stage, and all `stages` in the order of their columns."""

    stages: list[str]
    rows: list[dict[str, Panel]]


def panels(
    attention: Mapping[str, Sequence[AttentionRecord]],
    heatmaps: Mapping[tuple[str, str], Heatmap],
    titles: Mapping[str, str] | None = None,
    lang: str = "en",
) -> Panels:
    """One row for each kind of `attention`, by stage, then one for each method of `heatmaps`, by
    (stage, method); stages stand as they come. `titles` are those of methods, by default their
    keys."""
    words = section(lang, "figure")
    rows: dict[tuple[str, int], dict[str, Panel]] = {}
    for stage, records in attention.items():
        for record in records:
            kind, view_name = f"{record.kind} attention", VIEWS.get(record.kind)
            remark = words[view_name] if view_name else ""
            for view in record.views:
                nth = sum(stage in row for (other, _), row in rows.items() if other == kind)
                panel = _panel(
                    words, kind, words[record.kind], None, remark, *stretch(view.numpy())
                )
                rows.setdefault((kind, nth), {})[stage] = panel
    for (stage, method), map in heatmaps.items():
        remark = words["no_class"] if map.target is None else ""
        title = (titles or {}).get(method, method)
        raw = map.values.numpy(), map.low, map.high
        panel = _panel(words, method, title, map.target, remark, *raw)
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
    values: Map,
    low: float,
    high: float,
) -> Panel:
    # No more than float32's rounding tells the values apart, or there is none.
    flat = not high - low > 1e-6 * max(abs(low), abs(high))
    # As many digits as it takes to tell the ends apart, or, beyond what fits, their difference.
    pairs = [(number(low, digits), number(high, digits)) for digits in (3, 4, 5)]
    offset = (number(low, 3), f"+{number(high - low, 2)}")
    ends = next((p for p in pairs if p[0] != p[1] and len(max(p, key=len)) < 12), offset)
    span: tuple[str, ...] = (" … ".join(ends),) if values.ndim == 1 else ends
    if flat:
        what = "everywhere" if math.isfinite(low) else "no_numbers"
        span = (words[what].format(value=ends[0]),)
    count = words["channels"].format(count=len(values)) if values.ndim == 1 else size(values)
    return Panel(kind, title, target, values, low, high, flat, count, span, remark)


def stage_name(stage: str, lang: str) -> str:
    """'Block 5' of 'block5'; names of other kinds of stages stay as they are."""
    block = re.fullmatch(r"block(\d)", stage)
    return text(lang, "report.block", number=block[1]) if block else stage


def size(pixels: npt.NDArray[Any]) -> str:
    """Width × height of a map or a picture."""
    return f"{pixels.shape[1]}×{len(pixels)}"


def number(value: float, digits: int) -> str:
    """With so many significant digits, in letters that a page can set: 3.21×10⁻⁷; '–' for none."""
    if not math.isfinite(value):
        return "–"
    mantissa, _, exponent = f"{value:#.{digits}g}".partition("e")
    power = f"×10{str(int(exponent)).translate(SUPERSCRIPT)}" if exponent else ""
    return (mantissa.rstrip(".").replace("-", "−") + power) if value else "0"

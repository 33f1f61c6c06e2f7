"""The figure for a lecture; any number of threads may draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vggviz.plotting.fonts import drawable, missing, scripts
from vggviz.plotting.maps import COLORMAPS, Pixels, overlay, table
from vggviz.plotting.page import BAR, CELL, LINE, WIDE, Page, fits, fold
from vggviz.plotting.panels import GREY, Panel, panels, size
from vggviz.plotting.stages import headings, in_order
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In inches: the page's margin, between panels, over a panel, under a panel.
MARGIN, GAP, HEAD, FOOT = 0.4, 0.3, 0.52, 0.42


def figure(
    crop: Pixels,
    prediction: Prediction,
    attention: Mapping[str, Sequence[AttentionRecord]],
    heatmaps: Mapping[tuple[str, str], Heatmap],
    *,
    title: str,
    note: str = "",
    target: str = "",
    colormap: str = COLORMAPS[0],
    opacity: float = 0.5,
    order: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """The picture for a lecture: the crop and its top 5, a column a stage, a row a view.

    `crop` uint8 RGB (H, W, 3) is what the network saw. A row for each kind of `attention`, by
    stage: maps over positions as overlays, channel weights as a sorted chart. Then a row for each
    method of `heatmaps`, by (stage, method), named by its entry in `titles` or else by its key.
    Each panel tells its own resolution and raw range. Columns follow `order`, the network's order
    of stages, and else the numbers in their names. The class labelled `target` is marked; `note`
    goes to the foot. Texts are plain, never markup. What no font on this machine can draw is
    replaced (labels by 'class 7'), and the foot says so.

    Raises ValueError for an opacity outside [0, 1] and for an unknown colour map.
    """
    rows = panels(attention, heatmaps, order, titles)
    found = in_order((*(stage for stage, _ in heatmaps), *attention), order)
    stages = [stage for stage in found if any(stage in row for row in rows)]
    ranks = list(enumerate(prediction, 1))
    bars = ranks[:5] + [rank for rank in ranks[5:] if rank[1].label == target][:1]
    kinds = {panel.title for row in rows for panel in row.values()}
    labels = [one.label for _, one in bars]
    absent = missing("".join((title, note, target, *stages, *sorted(kinds), *labels)))
    shown = [(rank, one._replace(label=_label(one))) for rank, one in bars]
    marked = next(
        (new.label for (_, one), (_, new) in zip(bars, shown, strict=True) if one.label == target),
        target,
    )
    heights = [HEAD + CELL + FOOT + LINE * max(len(p.notes) for p in row.values()) for row in rows]
    free = _free(rows, stages)
    if free:  # crop and prediction stand in the corner that these rows leave free, side by side
        room = sum(heights[:free]) + GAP * (free - 1) - HEAD - FOOT
        big = min(room, 3 * (CELL + GAP) - WIDE - 2 * GAP)
        across, down, start = big + GAP, 0.0, MARGIN
    else:
        beside = len(rows) < 2  # one row: the prediction stands in it, beside the crop
        big = CELL if beside else WIDE
        across, down = (big + GAP, 0.0) if beside else (0.0, HEAD + big + GAP)
        start = MARGIN + across + WIDE + 1.5 * GAP
    width = (start + len(stages) * (CELL + GAP) - GAP if stages else start - 1.5 * GAP) + MARGIN
    title_lines = fold(title, width - 2 * MARGIN, 22, lines=2, bold=True)
    notes = fold(note, width - 2 * MARGIN, 12, lines=3)
    if absent:
        said = f"no font on this machine has the characters of: {', '.join(scripts(absent))}"
        notes += fold(said, width - 2 * MARGIN, 12, lines=2)
    top = MARGIN + 0.4 * len(title_lines) + 0.1
    left = max(HEAD + big, down + HEAD + BAR * len(bars) + LINE * bool(target))
    foot = top + max(left, sum(heights) + GAP * (len(rows) - 1)) + 0.15
    page = Page(width, foot + 0.24 * len(notes) + MARGIN)
    for line, text in enumerate(title_lines):
        page.text(MARGIN, MARGIN + 0.25 + 0.4 * line, text, 22, bold=True)
    for line, text in enumerate(notes, 1):
        page.text(MARGIN, foot + 0.24 * line, text, 12, color=GREY)
    page.heading(MARGIN, top, big, "Crop", "what the network saw", size(crop))
    page.image((MARGIN, top + HEAD, big, big), crop, "crop")
    x, y, count = MARGIN + across, top + down, f"{len(ranks)} classes"
    page.heading(x, y, WIDE, "Prediction", f"top {min(5, len(ranks))}", count)
    page.bars(x, y + HEAD, shown, marked)
    plain = {stage: drawable(" ".join(stage.split())[:2000], bold=True) for stage in stages}
    points = 15 if all(fits(text, CELL - 1.05, 15, bold=True) for text in plain.values()) else 11
    names = headings([*plain.values()], lambda text: fits(text, CELL - 1.05, points, bold=True))
    for nth, row in enumerate(rows):
        y = top + sum(heights[:nth]) + GAP * nth
        for stage, panel in row.items():
            x, name = start + stages.index(stage) * (CELL + GAP), f"{stage}; {panel.kind}"
            page.heading(x, y, CELL, names[plain[stage]], panel.title, panel.size, points)
            if panel.flat:
                page.image((x, y + HEAD, CELL, CELL), np.full((2, 2, 3), 0.95), name)
                page.text(x + 0.25, y + HEAD + CELL / 2, "flat: nothing to see", 13, color=GREY)
            elif panel.values.ndim == 1:
                page.chart(x, y + HEAD, panel, name, [p for p in row.values() if not p.flat])
            else:
                blend = overlay(crop, panel.values, opacity, colormap)
                page.image((x, y + HEAD, CELL, CELL), blend, name)
                bar = (x, y + HEAD + CELL + 0.06, CELL, 0.12)
                page.image(bar, table(colormap)[None, :256], f"{name}; colour bar")
            base = y + HEAD + CELL + 0.38
            for end, (text, side) in enumerate(zip(panel.ends, ("left", "right"), strict=False)):
                page.text(x + CELL * end, base, text, 12, ha=side)
            for line, (text, colour) in enumerate(panel.notes, 1):
                page.text(x, base + LINE * line, text, 10.5, color=colour)
    return page.figure


def _label(one: Ranked) -> str:
    """The label, or the class's index where no letter of the label can be drawn."""
    absent = missing(one.label)
    letters = [letter for letter in one.label if letter.isalnum()]
    return f"class {one.index}" if letters and set(letters) <= set(absent) else one.label


def _free(rows: Sequence[Mapping[str, Panel]], stages: Sequence[str]) -> int:
    """How many of the upper rows leave the first three columns free, though others do not."""
    first = set(stages[:3])
    used = [bool(first & set(row)) for row in rows]
    return used.index(True) if True in used else 0

"""The figure for a lecture; any number of threads may draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vggviz.locales import section, text
from vggviz.plotting.fonts import drawable, missing, scripts
from vggviz.plotting.maps import COLORMAPS, Pixels, overlay, table
from vggviz.plotting.numbers import number
from vggviz.plotting.page import BAR, CELL, LINE, WIDE, Page, fits, fold
from vggviz.plotting.panels import ACCENT, GREY, Panel, Panels, size
from vggviz.plotting.stages import headings
from vggviz.types import Prediction, Ranked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In inches: the page's margin, between panels, over a panel, under a panel.
MARGIN, GAP, HEAD, FOOT = 0.4, 0.3, 0.52, 0.42


def figure(
    crop: Pixels,
    prediction: Prediction,
    panels: Panels,
    *,
    title: str,
    note: str = "",
    target: str = "",
    lang: str = "en",
) -> Figure:
    """The picture for a lecture: the crop and its top 5, a column a stage, a row a view.

    `crop` uint8 RGB (H, W, 3) is what the network saw. Each row of `panels` shows one kind of
    attention or one method, stage by stage: maps over positions as overlays, with resolution, what
    the ends of the colours stand for, and a line along the values that the map has; channel weights
    as a sorted chart with their range. The class labelled `target` is marked; `note` goes
    to the foot. Texts are plain, never markup. What no font on this machine can draw is replaced
    (labels by 'class 7'), and the foot says so.
    """
    words, (stages, rows) = section(lang, "figure"), panels
    ranks = list(enumerate(prediction, 1))
    bars = ranks[:5] + [rank for rank in ranks[5:] if rank[1].label == target][:1]
    labels = [one.label for _, one in bars]
    titles = sorted({panel.title for row in rows for panel in row.values()})
    absent = missing("".join((title, note, target, *stages, *titles, *labels)))
    classes = [(rank, one._replace(label=_label(one, words))) for rank, one in bars]
    marked = next(
        (
            new.label
            for (_, one), (_, new) in zip(bars, classes, strict=True)
            if one.label == target
        ),
        target,
    )
    heights = [
        HEAD + CELL + FOOT + LINE * max(len(_notes(p, words)) for p in row.values()) for row in rows
    ]
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
        listed = text(lang, "language.list").join(scripts(absent))
        notes += fold(words["no_font"].format(scripts=listed), width - 2 * MARGIN, 12, lines=2)
    top = MARGIN + 0.4 * len(title_lines) + 0.1
    left = max(HEAD + big, down + HEAD + BAR * len(bars) + LINE * bool(target))
    foot = top + max(left, sum(heights) + GAP * (len(rows) - 1)) + 0.15
    page = Page(width, foot + 0.24 * len(notes) + MARGIN)
    for line, part in enumerate(title_lines):
        page.text(MARGIN, MARGIN + 0.25 + 0.4 * line, part, 22, bold=True)
    for line, part in enumerate(notes, 1):
        page.text(MARGIN, foot + 0.24 * line, part, 12, color=GREY)
    page.heading(MARGIN, top, big, words["crop"], words["saw"], size(crop))
    page.image((MARGIN, top + HEAD, big, big), crop, "crop")
    x, y, count = MARGIN + across, top + down, words["classes"].format(count=len(ranks))
    best = words["top"].format(count=min(5, len(ranks)))
    page.heading(x, y, WIDE, words["prediction"], best, count)
    page.bars(x, y + HEAD, classes, marked, words)
    plain = {stage: drawable(" ".join(stage.split())[:2000], bold=True) for stage in stages}
    points = 15 if all(fits(text, CELL - 1.05, 15, bold=True) for text in plain.values()) else 11
    names = headings([*plain.values()], lambda text: fits(text, CELL - 1.05, points, bold=True))
    for nth, row in enumerate(rows):
        y = top + sum(heights[:nth]) + GAP * nth
        for stage, panel in row.items():
            x, name = start + stages.index(stage) * (CELL + GAP), f"{stage}; {panel.kind}"
            page.heading(x, y, CELL, names[plain[stage]], panel.title, panel.size, points)
            if panel.scale.flat:
                page.image((x, y + HEAD, CELL, CELL), np.full((2, 2, 3), 0.95), name)
                page.text(x + 0.25, y + HEAD + CELL / 2, words["flat"], 13, color=GREY)
            elif panel.values.ndim == 1:
                page.chart(
                    x, y + HEAD, panel, name, [p for p in row.values() if not p.scale.flat], words
                )
            else:
                blend = overlay(crop, panel.unit)
                page.image((x, y + HEAD, CELL, CELL), blend, name)
                bar = (x, y + HEAD + CELL + 0.06, CELL, 0.12)
                page.image(bar, table(COLORMAPS[0])[None, :256], f"{name}; colour bar")
                page.rule(x, y + HEAD + CELL + 0.2, CELL, panel.scale.span, f"{name}; colour span")
            base = y + HEAD + CELL + 0.38
            for end, (part, side) in enumerate(zip(panel.ends, ("left", "right"), strict=False)):
                page.text(x + CELL * end, base, part, 12, ha=side)
            for line, (part, colour) in enumerate(_notes(panel, words), 1):
                page.text(x, base + LINE * line, part, 10.5, color=colour)
    return page.figure


def _label(one: Ranked, words: Mapping[str, str]) -> str:
    """The label, or the class's index where no letter of the label can be drawn."""
    absent = missing(one.label)
    letters = {letter for letter in one.label if letter.isalnum()}
    return (
        words["class"].format(index=one.index) if letters and letters <= set(absent) else one.label
    )


def _notes(panel: Panel, words: Mapping[str, str]) -> list[tuple[str, str]]:
    """What stands under a panel, with its colour: that it is nearly flat, and the remark."""
    notes = [(panel.remark, GREY)] if panel.remark else []
    scale = panel.scale
    if scale.nearly_flat:
        span, share = number(scale.most - scale.least, 2), number(100 * scale.share, 1)
        notes.insert(0, (words["range"].format(range=span, share=share), ACCENT))
    return notes


def _free(rows: Sequence[Mapping[str, Panel]], stages: Sequence[str]) -> int:
    """How many of the upper rows leave the first three columns free, though others do not."""
    first = set(stages[:3])
    used = [bool(first & set(row)) for row in rows]
    return used.index(True) if True in used else 0

"""A result as a notebook shows it: compact HTML that stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np

from vggviz.inline import bars, data_uri
from vggviz.plotting.maps import Pixels, overlay
from vggviz.plotting.panels import Panel, panels
from vggviz.plotting.report import chart
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked

__all__ = ["notebook"]

SIDE = 112  # pixels of a picture
CAPTION = "font-size:11px;line-height:1.3;overflow-wrap:anywhere"


def notebook(
    crop: Pixels,
    prediction: Prediction,
    attention: Mapping[str, Sequence[AttentionRecord]],
    heatmaps: Mapping[tuple[str, str], Heatmap],
    *,
    target: Ranked,
    about: str,
    order: Sequence[str] = (),
    titles: Mapping[str, str] | None = None,
) -> str:
    """The crop, the five likeliest classes, then a row a view with one small picture a stage.

    `about` stands above them. `titles` are those of methods by key. Labels and names are text,
    never markup. There is no script, no style sheet and nothing to fetch.
    """
    small = np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    rows = panels(attention, heatmaps, order, titles)
    shown = [(one.label, one.probability) for one in prediction.top(5)]
    if target.label not in (label for label, _ in shown):
        shown.append((target.label, target.probability))
    return (
        f'<div style="font-size:13px"><div><b>{escape(about)}</b></div>'
        f'<div style="display:flex;gap:12px;align-items:flex-start">'
        f'<img alt="the crop" width="{SIDE}" height="{SIDE}" src="{data_uri(small)}">'
        f"{bars(shown, target.label)}</div>"
        + "".join(
            f"<div>{escape(next(iter(row.values())).title)}</div>"
            f'<div style="display:flex;flex-wrap:wrap;gap:8px">'
            f"{''.join(_figure(stage, panel, small) for stage, panel in row.items())}</div>"
            for row in rows
        )
        + "</div>"
    )


def _figure(stage: str, panel: Panel, crop: Pixels) -> str:
    """One map or chart, its stage and its raw range."""
    alt = f"{panel.title} at {stage}"
    if panel.flat:
        drawn = f'<div style="height:{SIDE}px">flat: nothing to see</div>'
    elif panel.values.ndim == 1:
        drawn = chart(panel, alt, SIDE)
    else:
        uri = data_uri(overlay(crop, panel.values))
        drawn = f'<img alt="{escape(alt)}" width="{SIDE}" height="{SIDE}" src="{uri}">'
    ends = " … ".join(panel.ends)
    return (
        f'<figure style="margin:0;width:{SIDE}px">{drawn}<figcaption style="{CAPTION}">'
        f"{escape(stage)} {panel.size}<br>{escape(ends)}</figcaption></figure>"
    )

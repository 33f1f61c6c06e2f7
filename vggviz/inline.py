"""What results look like in a notebook: HTML that stands alone, without script or style sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["bars", "colour_range", "data_uri", "heat"]


def data_uri(pixels: npt.NDArray[np.uint8], kind: str = "jpeg") -> str:
    """uint8 RGB (H, W, 3) as a data URI, exact with kind 'png'.

    What travels inside an answer can't be fetched half written, nor by anyone else, and leaves
    nothing on the disk.
    """
    from PIL import Image

    file = io.BytesIO()
    how: dict[str, Any] = {"quality": 88, "subsampling": 0} if kind == "jpeg" else {}
    Image.fromarray(pixels).save(file, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def bars(rows: Iterable[tuple[str, float]], marked: str = "") -> str:
    """A table of labels with their probabilities, as numbers and as bars; `marked` in bold."""
    return "<table>{}</table>".format(
        "".join(
            f'<tr style="font-weight:{700 if label == marked else 400}">'
            f'<td style="text-align:left">{escape(label)}</td>'
            f'<td style="text-align:right">{share:.1%}</td><td style="width:120px">'
            f'<div style="height:8px;width:{share:.1%};background:#8793a0"></div></td></tr>'
            for label, share in rows
        )
    )


def colour_range(
    least: float, most: float, gates: bool = False, top: float = 0.0
) -> tuple[float, float]:
    """The raw values at both ends of honest colours, which make maps comparable: from 0, or the
    smallest value where that is negative, to 1 for `gates`, else to the largest value or `top`,
    whichever is larger."""
    return min(0.0, least), max(1.0 if gates else 0.0, most, top)


def heat(raw: npt.NDArray[Any], caption: str, gates: bool = False, side: int = 160) -> str:
    """A raw map (H, W) or vector (C,) in the colours of 'inferno' over its `colour_range`, and what
    is said of it.

    Each value is one square, and `side` pixels the width on the page. A flat map is dark, unless
    it is one of `gates`; what is no finite number is white.
    """
    import matplotlib

    values = np.where(np.isfinite(raw), raw, np.nan).astype(np.float64)
    known = values[~np.isnan(values)]
    least, most = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    low, high = colour_range(least, most, gates)
    if least == most and not gates:
        low = least
    rows = np.atleast_2d((values - low) / ((high - low) or 1))
    pixels = matplotlib.colormaps["inferno"].with_extremes(bad="white")(
        np.ma.masked_invalid(rows), bytes=True
    )
    height = 24 if raw.ndim == 1 else round(side * len(rows) / rows.shape[1])
    said = f"{caption}; colours from {low:.3g} to {high:.3g}"
    return (
        f'<figure style="display:inline-block;margin:0 8px 8px 0"><img alt="{escape(said)}" '
        f'style="width:{side}px;height:{height}px;image-rendering:pixelated" '
        f'src="{data_uri(np.ascontiguousarray(pixels[..., :3]), "png")}">'
        f'<figcaption style="font-size:11px">{escape(said)}</figcaption></figure>'
    )

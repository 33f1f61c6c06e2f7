"""What results look like in a notebook: HTML that stands alone, without script or style sheet."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["bars", "data_uri", "heat", "ramp"]


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


def heat(values: npt.NDArray[Any], caption: str, side: int = 160) -> str:
    """A map (H, W) or a vector (C,) in [0, 1] in the colours of 'inferno', and what is said of it.

    Each value is one square, and `side` pixels the width on the page. NaN is white.
    """
    import matplotlib

    rows = np.atleast_2d(values)
    pixels = matplotlib.colormaps["inferno"].with_extremes(bad="white")(
        np.ma.masked_invalid(rows), bytes=True
    )
    height = 24 if values.ndim == 1 else round(side * len(rows) / rows.shape[1])
    return (
        f'<figure style="display:inline-block;margin:0 8px 8px 0"><img alt="{escape(caption)}" '
        f'style="width:{side}px;height:{height}px;image-rendering:pixelated" '
        f'src="{data_uri(np.ascontiguousarray(pixels[..., :3]), "png")}">'
        f'<figcaption style="font-size:11px">{escape(caption)}</figcaption></figure>'
    )


def ramp(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(values − lowest) / (highest − lowest) of the finite values; zeros where they are all equal,
    NaN where a value is no number."""
    raw = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    known = raw[~np.isnan(raw)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    return np.asarray((raw - low) / ((high - low) or 1))

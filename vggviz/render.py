"""Maps as colours, as overlays, and as the figure for a lecture; any number of threads may draw."""

# Matplotlib leaves the types of **kwargs open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import math
import re
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

__all__ = ["COLORMAPS", "colours", "figure", "overlay", "png", "resize", "stretch", "svg"]

Map: TypeAlias = npt.NDArray[np.floating[Any]]
Pixels: TypeAlias = npt.NDArray[np.uint8]

# The default first. All perceptually uniform but the last, which most papers' pictures resemble.
COLORMAPS = ("inferno", "viridis", "cividis", "magma", "plasma", "turbo")
# The figure in inches.
MARGIN, GAP, CELL, WIDE, HEAD, FOOT, LINE, BAR = 0.4, 0.3, 2.3, 2.8, 0.52, 0.42, 0.2, 0.45
INK, GREY, DULL, PALE, ACCENT = "#1b1f24", "#59636e", "#8793a0", "#e3e8ed", "#b3440a"
# What is shown of attention that is no map by itself.
VIEWS = {"volume": "mean over channels", "token": "received by each position"}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def colours(values: Map, colormap: str = COLORMAPS[0]) -> npt.NDArray[np.float32]:
    """Each value's colour in a table of 256: (H, W) in [0, 1] → RGB (H, W, 3) in [0, 1].

    Values beyond [0, 1] take the colours of the ends, NaN a neutral grey. Raises ValueError for
    a colour map that is not in `COLORMAPS`.
    """
    row = np.where(np.isnan(values), 256, np.clip(values * 256, 0, 255))
    return _table(colormap)[row.astype(np.intp)]


@lru_cache
def _table(colormap: str) -> npt.NDArray[np.float32]:
    """(257, 3): the 256 colours, then the grey of NaN."""
    import matplotlib

    if colormap not in COLORMAPS:
        raise ValueError(f"no colour map {colormap!r}: choose one of {', '.join(COLORMAPS)}")
    colours = matplotlib.colormaps[colormap](np.arange(256))[:, :3]
    return np.vstack((colours, np.full((1, 3), 0.5))).astype(np.float32)


def resize(values: Map, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Bilinear between cell centres, constant beyond the outermost: (h, w) → `size` (H, W).

    As torch's `interpolate(mode="bilinear", align_corners=False)`, but a NaN cell does not
    spread: it leaves NaN in its own area, and pixels around it mix the other cells alone.
    """
    source = np.array(values, dtype=np.float32)
    hole = np.isnan(source)
    if not hole.any():
        return np.asarray(cv2.resize(source, size[::-1]), dtype=np.float32)
    filled = resize(np.where(hole, 0, source), size)
    known = resize(1.0 - hole, size)
    inside = cv2.resize(hole * 1.0, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT) > 0
    return np.where(inside, np.float32(np.nan), filled / np.where(inside, 1, known))


def overlay(
    image: Pixels, values: Map, opacity: float = 0.5, colormap: str = COLORMAPS[0]
) -> Pixels:
    """(1 − opacity) · image + opacity · colour of the map: uint8 RGB (H, W, 3), rounded once.

    `values` (h, w) in [0, 1] are resized to the picture. Where they are NaN the picture stays
    bare. Raises ValueError for an opacity outside [0, 1] and for an unknown colour map.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie in [0, 1], not {opacity}")
    map = resize(values, (image.shape[0], image.shape[1]))
    share = np.where(np.isnan(map), 0, np.float32(opacity))[..., None]  # (H, W, 1)
    blended = (1 - share) * image + share * (255 * colours(map, colormap))
    return np.rint(blended).astype(np.uint8)


def stretch(values: Map) -> tuple[npt.NDArray[np.float32], float, float]:
    """(values − low) / (high − low), with low and high, the smallest and the largest raw value.

    Any shape. A flat map is all zeros. Infinite values become NaN, and NaN stays; where nothing
    else is there, low and high are NaN too.
    """
    raw = np.asarray(values, dtype=np.float64)
    known = np.isfinite(raw)
    low = float(raw.min(where=known, initial=np.inf)) if known.any() else float("nan")
    high = float(raw.max(where=known, initial=-np.inf)) if known.any() else low
    scaled = np.where(known, raw - low, np.nan) / ((high - low) or 1)
    return scaled.astype(np.float32), low, high


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
) -> Figure:
    """The picture for a lecture: the crop and its top 5, then a column a site, a row a view.

    `crop` uint8 RGB (H, W, 3) is what the network saw. A row for each kind of `attention`, by
    site: maps over positions as overlays, channel weights as a sorted chart. Then a row for each
    method of `heatmaps`, by (site, method). Each panel tells its own resolution and raw range.
    The class labelled `target` is marked; `note` goes to the foot. Texts are plain, never markup.

    Raises ValueError for an opacity outside [0, 1] and for an unknown colour map.
    """
    rows = _rows(attention, heatmaps)
    sites = sorted({site for row in rows for site in row})
    ranks = list(enumerate(prediction, 1))
    bars = ranks[:5] + [rank for rank in ranks[5:] if rank[1].label == target][:1]
    beside = len(rows) < 2  # one row: the prediction stands in it, beside the crop
    big = CELL if beside else WIDE
    across, down = (big + GAP, 0.0) if beside else (0.0, HEAD + big + GAP)
    start = MARGIN + across + WIDE + 1.5 * GAP
    width = (start + len(sites) * (CELL + GAP) - GAP if sites else start - 1.5 * GAP) + MARGIN
    heights = [HEAD + CELL + FOOT + LINE * max(len(p.notes) for p in row.values()) for row in rows]
    titles = _fold(title, width - 2 * MARGIN, 22, lines=2, bold=True)
    notes = _fold(note, width - 2 * MARGIN, 12, lines=3)
    top = MARGIN + 0.4 * len(titles) + 0.1
    left = max(HEAD + big, down + HEAD + BAR * len(bars) + LINE * bool(target))
    foot = top + max(left, sum(heights) + GAP * (len(rows) - 1)) + 0.15
    page = _Page(width, foot + 0.24 * len(notes) + MARGIN)
    for line, text in enumerate(titles):
        page.text(MARGIN, MARGIN + 0.25 + 0.4 * line, text, 22, bold=True)
    for line, text in enumerate(notes, 1):
        page.text(MARGIN, foot + 0.24 * line, text, 12, color=GREY)
    page.heading(MARGIN, top, big, "Crop", "what the network saw", _size(crop))
    page.image((MARGIN, top + HEAD, big, big), crop, "crop")
    x, y, count = MARGIN + across, top + down, f"{len(ranks)} classes"
    page.heading(x, y, WIDE, "Prediction", f"top {min(5, len(ranks))}", count)
    page.bars(x, y + HEAD, bars, target)
    for nth, row in enumerate(rows):
        y = top + sum(heights[:nth]) + GAP * nth
        for site, panel in row.items():
            x, name = start + sites.index(site) * (CELL + GAP), f"{site}; {panel.kind}"
            page.heading(x, y, CELL, site, panel.kind, panel.size)
            if panel.flat:
                page.image((x, y + HEAD, CELL, CELL), np.full((2, 2, 3), 0.95), name)
                page.text(x + 0.25, y + HEAD + CELL / 2, "flat: nothing to see", 13, color=GREY)
            elif panel.values.ndim == 1:
                page.chart(x, y + HEAD, panel, name, [p for p in row.values() if not p.flat])
            else:
                blend = overlay(crop, panel.values, opacity, colormap)
                page.image((x, y + HEAD, CELL, CELL), blend, name)
                bar = (x, y + HEAD + CELL + 0.06, CELL, 0.12)
                page.image(bar, _table(colormap)[None, :256], f"{name}; colour bar")
            base = y + HEAD + CELL + 0.38
            for end, (text, side) in enumerate(zip(panel.ends, ("left", "right"), strict=False)):
                page.text(x + CELL * end, base, text, 12, ha=side)
            for line, (text, colour) in enumerate(panel.notes, 1):
                page.text(x, base + LINE * line, text, 10.5, color=colour)
    return page.figure


def png(figure: Figure, dpi: float = 150) -> bytes:
    """The figure as a PNG file; equal figures give equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file, its letters as outlines; equal figures give equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=200, facecolor="white", metadata={"Date": None})
    new: dict[bytes, bytes] = {}  # names instead of matplotlib's, which are random
    random = re.compile(rb'(?<=["#])\w+?[0-9a-f]{10}(?=[")])')
    return random.sub(lambda id: new.setdefault(id[0], b"n%d" % len(new)), file.getvalue())


class _Panel(NamedTuple):
    """A map (H, W) or channel weights (C,) in [0, 1], and what must be said: notes by colour."""

    kind: str
    values: Map
    low: float
    high: float
    flat: bool
    size: str
    ends: tuple[str, ...]
    notes: list[tuple[str, str]]


def _panel(kind: str, values: Map, low: float, high: float, remark: str = "") -> _Panel:
    spread = high - low
    # No more than float32's rounding tells the values apart, or there is none.
    flat = not spread > 1e-6 * max(abs(low), abs(high))
    # As many digits as it takes to tell the ends apart, or, beyond what fits, their difference.
    pairs = [(_number(low, digits), _number(high, digits)) for digits in (3, 4, 5)]
    offset = (_number(low, 3), f"+{_number(spread, 2)}")
    least, most = next((p for p in pairs if p[0] != p[1] and len(max(p, key=len)) < 12), offset)
    ends = (f"{least} … {most}",) if values.ndim == 1 else (least, most)
    ends = (f"{least} everywhere",) if flat else ends
    notes = [(remark, GREY)] if remark else []
    if not flat and spread < 0.02 * high:  # stretched colours exaggerate
        share = f"{_number(spread, 2)} ({_number(100 * spread / high, 1)}%)"
        notes.insert(0, (f"range only {share}", ACCENT))
    return _Panel(kind, values, low, high, flat, _size(values), ends, notes)


def _size(shown: npt.NDArray[Any]) -> str:
    return f"{len(shown)} channels" if shown.ndim == 1 else f"{shown.shape[1]}×{len(shown)}"


def _rows(
    attention: Mapping[str, Sequence[AttentionRecord]], heatmaps: Mapping[tuple[str, str], Heatmap]
) -> list[dict[str, _Panel]]:
    """Panels by site, row by row: one for each kind of attention, then one for each method."""
    rows: dict[tuple[str, int], dict[str, _Panel]] = {}
    for site, records in attention.items():
        for record in records:
            view = next(v for v in (record.spatial, record.channel) if v is not None)
            kind, remark = f"{record.kind} attention", VIEWS.get(record.kind, "")
            nth = sum(site in row for (known, _), row in rows.items() if known == kind)
            rows.setdefault((kind, nth), {})[site] = _panel(kind, *stretch(view.numpy()), remark)
    for (site, method), map in heatmaps.items():
        remark = "knows no class" if map.target is None else ""
        panel = _panel(method, map.values.numpy(), map.low, map.high, remark)
        rows.setdefault((method, -1), {})[site] = panel
    return list(rows.values())


def _number(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:#.{digits}g}".partition("e")
    power = f"×10{str(int(exponent)).translate(SUPERSCRIPT)}" if exponent else ""
    return (mantissa.rstrip(".").replace("-", "−") + power) if value else "0"


def _font(size: float, bold: bool) -> FontProperties:
    """DejaVu Sans out of matplotlib's own folder, whatever the computer has."""
    from matplotlib import font_manager, get_data_path

    file = f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf"
    return font_manager.FontProperties(fname=file, size=size)


def _fold(text: str, width: float, size: float, lines: int = 1, bold: bool = False) -> list[str]:
    """Text broken at spaces to fit `width` inches; what is too much for `lines` ends in '…'."""
    from matplotlib import font_manager, textpath

    look = _font(size, bold)
    glyphs = font_manager.get_font(str(look.get_file()))
    ruler = textpath.TextToPath().get_text_width_height_descent
    rest = " ".join(text.split())[:2000]
    # Matplotlib would warn of glyphs that the font lacks, at every drawing.
    rest = "".join(letter if glyphs.get_char_index(ord(letter)) else "□" for letter in rest)
    found: list[str] = []
    while ruler(rest, look, False)[0] > 72 * width:
        tail = "…" if len(found) == lines - 1 else ""  # on the last line only
        starts = [rest[:count].rstrip() + tail for count in range(1, len(rest))]
        fits = max(1, bisect(starts, 72 * width, key=lambda start: ruler(start, look, False)[0]))
        if tail:
            return [*found, starts[fits - 1]]
        cut = max(rest.rfind(" ", 0, fits + 1), 0) or fits
        found.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*found, rest] if rest else found


class _Page:
    """A white figure in inches from its top left corner, without pyplot, which threads share."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure((width, height), dpi=100, facecolor="white")
        self.figure.set_layout_engine("none")
        FigureCanvasAgg(self.figure)

    def text(self, x: float, y: float, text: str, size: float, **look: Any) -> None:
        """One line on the base line `y`."""
        plain: dict[str, Any] = {"color": INK, "va": "baseline", "parse_math": False}
        font = _font(size, bool(look.pop("bold", False)))
        styled = {**plain, "usetex": False, "fontproperties": font, **look}
        self.figure.text(x / self.width, 1 - y / self.height, text, **styled)

    def axes(self, box: Sequence[float], name: str) -> Axes:
        """Empty axes at (left, top, width, height)."""
        x, y, wide, high = box
        w, h = self.width, self.height
        axes = self.figure.add_axes((x / w, 1 - (y + high) / h, wide / w, high / h), label=name)
        axes.set_axis_off()
        return axes

    def image(self, box: Sequence[float], pixels: npt.NDArray[Any], name: str) -> None:
        axes = self.axes(box, name)
        axes.imshow(pixels, interpolation="bicubic", origin="upper")
        axes.set_aspect("auto" if len(pixels) == 1 else "equal")

    def heading(self, x: float, y: float, width: float, name: str, kind: str, size: str) -> None:
        self.text(x, y + 0.17, "".join(_fold(name, width - 1.05, 15, bold=True)), 15, bold=True)
        self.text(x + width, y + 0.17, size, 11, color=GREY, ha="right")
        self.text(x, y + 0.41, "".join(_fold(kind, width, 13)), 13)

    def bars(self, x: float, y: float, bars: Sequence[tuple[int, Ranked]], target: str) -> None:
        """A class over each bar, and its percentage: the target in bold, with an arrow."""
        axes = self.axes((x, y, WIDE, BAR * len(bars)), "prediction")
        axes.set(xlim=(0, 1), ylim=(len(bars), 0))
        for line, (_, (_, label, share)) in enumerate(bars):
            wanted, base = label == target, y + BAR * line + 0.21
            axes.barh(line + 0.7, 1, 0.22, color=PALE)
            axes.barh(line + 0.7, share, 0.22, color=ACCENT if wanted else DULL)
            text = _fold("▶ " * wanted + label, WIDE - 0.9, 13, bold=wanted)
            self.text(x, base, "".join(text), 13, bold=wanted)
            self.text(x + WIDE, base, f"{share:.1%}", 13, bold=wanted, ha="right")
        if target:
            legend = "▶ the class explained" + (f", no. {bars[-1][0]}" if len(bars) > 5 else "")
            self.text(x, y + BAR * len(bars) + 0.15, legend, 11, color=GREY)

    def chart(self, x: float, y: float, panel: _Panel, name: str, row: Iterable[_Panel]) -> None:
        """Channel weights, sorted, on one scale a row from 0: what differs little looks alike."""
        low, high = min(0.0, *(p.low for p in row)), max(0.0, *(p.high for p in row))
        high = 10.0 ** math.ceil(math.log10(high)) if high else high
        axes = self.axes((x + 0.25, y + 0.05, CELL - 0.25, CELL - 0.05), name)
        axes.set(xlim=(0, len(panel.values)), ylim=(low, high))
        raw = np.sort(panel.values.astype(np.float64)) * (panel.high - panel.low) + panel.low
        axes.stairs(raw, fill=True, color=PALE)
        axes.stairs(raw, baseline=None, color=INK, linewidth=2)
        axes.plot((0, 0, len(raw)), (high, low, low), color=GREY, linewidth=1, clip_on=False)
        look = {"color": GREY, "ha": "right"}
        self.text(x + 0.19, y + 0.16, f"{high:g}", 11, **look)
        self.text(x + 0.19, y + CELL, f"{low:g}", 11, **look)
        self.text(x + 0.19, y + CELL / 2, "weight", 11, **look, va="center", rotation=90)
        self.text(x + CELL, y + CELL + 0.17, "channels, sorted", 11, **look)

"""A white page of matplotlib's, measured in inches, on which texts, pictures and charts stand."""

# Matplotlib leaves the types of **kwargs open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import io
import math
import re
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vggviz.plotting.fonts import drawable, font
from vggviz.plotting.panels import ACCENT, GREY, Panel
from vggviz.types import Ranked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In inches: a panel's side, the prediction's width, a line under a panel, a line of the prediction.
CELL, WIDE, LINE, BAR = 2.3, 2.8, 0.2, 0.45
INK, DULL, PALE = "#1b1f24", "#8793a0", "#e3e8ed"
MADE_BY = "vggviz"  # in a PNG's tag Software


def png(figure: Figure, dpi: float = 150) -> bytes:
    """The figure as a PNG file that says it is one of ours; equal figures give equal bytes."""
    file, tags = io.BytesIO(), {"Software": MADE_BY}
    figure.savefig(file, format="png", dpi=dpi, facecolor="white", metadata=tags)
    return file.getvalue()


def is_own_png(file: Path) -> bool:
    """Whether `png` wrote this file; not where it can't be read."""
    try:
        with file.open("rb") as opened:
            return f"tEXtSoftware\0{MADE_BY}".encode() in opened.read(256)
    except OSError:
        return False


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file, its letters as outlines; equal figures give equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", dpi=200, facecolor="white", metadata={"Date": None})
    new: dict[bytes, bytes] = {}  # names instead of matplotlib's, which are random
    random = re.compile(rb'(?<=["#])\w+?[0-9a-f]{10}(?=[")])')
    return random.sub(lambda id: new.setdefault(id[0], b"n%d" % len(new)), file.getvalue())


def fold(text: str, width: float, size: float, lines: int = 1, bold: bool = False) -> list[str]:
    """Text broken at spaces to fit `width` inches; what is too much for `lines` ends in '…'."""
    rest = drawable(" ".join(text.split())[:2000], bold)
    ruler = _ruler(rest, size, bold)
    folded: list[str] = []
    while ruler(rest) > width:
        tail = "…" if len(folded) == lines - 1 else ""  # on the last line only
        starts = [rest[:count].rstrip() + tail for count in range(1, len(rest))]
        fits = max(1, bisect(starts, width, key=ruler))
        if tail:
            return [*folded, starts[fits - 1]]
        cut = max(rest.rfind(" ", 0, fits + 1), 0) or fits
        folded.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*folded, rest] if rest else folded


def fits(text: str, width: float, size: float, bold: bool = False) -> bool:
    """Whether one line of drawable `text` needs no more than `width` inches."""
    return _ruler(text, size, bold)(text) <= width


def _ruler(text: str, size: float, bold: bool) -> Callable[[str], float]:
    """What measures parts of `text`, in inches."""
    from matplotlib.textpath import TextToPath

    look = font(text, size, bold)
    measure = TextToPath().get_text_width_height_descent
    return lambda part: float(measure(part, look, False)[0]) / 72


class Page:
    """A white figure in inches from its top left corner, without pyplot, which threads share."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from vggviz.plotting.notebook_figure import NotebookFigure

        self.width, self.height = width, height
        self.figure = NotebookFigure((width, height), dpi=100, facecolor="white")
        self.figure.set_layout_engine("none")
        FigureCanvasAgg(self.figure)

    def text(self, x: float, y: float, text: str, size: float, **look: Any) -> None:
        """One line on the base line `y`."""
        plain: dict[str, Any] = {"color": INK, "va": "baseline", "parse_math": False}
        fonts = font(text, size, bool(look.pop("bold", False)))
        styled = {**plain, "usetex": False, "fontproperties": fonts, **look}
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

    def rule(self, x: float, y: float, width: float, span: tuple[float, float], name: str) -> None:
        """A line from one share of the `width` to another."""
        axes = self.axes((x, y, width, 0.025), name)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.barh(0.5, max(span[1] - span[0], 0.01), 1, span[0], color=INK)

    def heading(
        self, x: float, y: float, width: float, name: str, kind: str, size: str, points: float = 15
    ) -> None:
        """`name`, which fits, in `points`, beside it the size, below it the kind."""
        self.text(x, y + 0.17, name, points, bold=True)
        self.text(x + width, y + 0.17, size, 11, color=GREY, ha="right")
        self.text(x, y + 0.41, "".join(fold(kind, width, 13)), 13)

    def bars(
        self,
        x: float,
        y: float,
        bars: Sequence[tuple[int, Ranked]],
        target: str,
        words: Mapping[str, str],
    ) -> None:
        """A class over each bar, and its percentage: the target in bold, with an arrow."""
        axes = self.axes((x, y, WIDE, BAR * len(bars)), "prediction")
        axes.set(xlim=(0, 1), ylim=(len(bars), 0))
        for line, (_, (_, label, share)) in enumerate(bars):
            marked, base = label == target, y + BAR * line + 0.21
            axes.barh(line + 0.7, 1, 0.22, color=PALE)
            axes.barh(line + 0.7, share, 0.22, color=ACCENT if marked else DULL)
            text = fold("▶ " * marked + label, WIDE - 0.9, 13, bold=marked)
            self.text(x, base, "".join(text), 13, bold=marked)
            self.text(x + WIDE, base, f"{share:.1%}", 13, bold=marked, ha="right")
        if target:
            rank = f", {words['rank'].format(rank=bars[-1][0])}" if len(bars) > 5 else ""
            legend = f"▶ {words['explained']}{rank}"
            self.text(x, y + BAR * len(bars) + 0.15, legend, 11, color=GREY)

    def chart(
        self,
        x: float,
        y: float,
        panel: Panel,
        name: str,
        row: Sequence[Panel],
        words: Mapping[str, str],
    ) -> None:
        """Channel weights, sorted, on one scale a row from 0: what differs little looks alike."""
        low = min(0.0, *(p.scale.least for p in row))
        high = max(0.0, *(p.scale.most for p in row))
        high = 10.0 ** math.ceil(math.log10(high)) if high else high
        axes = self.axes((x + 0.25, y + 0.05, CELL - 0.25, CELL - 0.05), name)
        axes.set(xlim=(0, len(panel.values)), ylim=(low, high))
        raw = np.sort(panel.values.astype(np.float64))
        axes.stairs(raw, fill=True, color=PALE)
        axes.stairs(raw, baseline=None, color=INK, linewidth=2)
        axes.plot((0, 0, len(raw)), (high, low, low), color=GREY, linewidth=1, clip_on=False)
        look = {"color": GREY, "ha": "right"}
        self.text(x + 0.19, y + 0.16, f"{high:g}", 11, **look)
        self.text(x + 0.19, y + CELL, f"{low:g}", 11, **look)
        self.text(x + 0.19, y + CELL / 2, words["weight"], 11, **look, va="center", rotation=90)
        self.text(x + CELL, y + CELL + 0.17, words["sorted"], 11, **look)

"""A diagram of how an attention type works, as an SVG made from `AttentionType.diagram`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vggviz.app.markup import attention_explanation
from vggviz.attention import ATTENTION
from vggviz.locales import text

__all__ = ["WIDTH", "diagram", "drawing"]

WIDTH = 304  # units, which are pixels where there is no more room: the type has at least TYPE
TYPE = 14
MAIN = 14  # x of the line from the input x at the top to the output y at the bottom
LETTER, PADDING, GAP = 8, 8, 8
ROW, BOX = 34, 22  # heights


def diagram(lang: str, attention: str) -> str:
    """The drawing of an attention type, folded under its title; '' for one that has none."""
    drawn = drawing(lang, attention)
    summary = escape(text(lang, "explore.diagram"))
    return (
        f'<details class="diagram"><summary>{summary}</summary>{drawn}</details>' if drawn else ""
    )


def drawing(lang: str, attention: str) -> str:
    """The diagram of an attention type as an SVG; '' for one that has none.

    The features go down the left edge. At each step they also enter rows of boxes, left to right;
    what comes out goes back along the bottom, right to left, to the operation at the edge.
    """
    spec = ATTENTION.get(attention)
    if spec is None or not spec.diagram:
        return ""
    shapes, y = [_label(MAIN, 12, "x")], 20.0
    for step in spec.diagram.split(";"):
        shape, y = _step(step, y)
        shapes += shape
    shapes += [_line(f"M{MAIN} {y - 2}v10"), _label(MAIN, y + 20, "y")]
    label = text(lang, "explore.diagram_alt", line=attention_explanation(lang, attention))
    return (
        f'<svg viewBox="0 0 {WIDTH} {y + 26:g}" role="img" aria-label="{escape(label)}" '
        f'style="display:block;width:100%;min-width:{WIDTH}px;max-width:{1.2 * WIDTH:g}px" '
        f'fill="none" stroke="currentColor" font-size="{TYPE}" text-anchor="middle">'
        f"{''.join(shapes)}</svg>"
    )


def _step(step: str, top: float) -> tuple[list[str], float]:
    """The shapes of a step and the y of its end. A step is 'row | row => tail : operation', where a
    row and the tail are boxes with '>' between them; rows and tail can be left out."""
    rows, _, operation = step.rpartition(" : ")
    rows, _, tail = rows.partition("=>")
    lines, back = [_words(row) for row in rows.split("|")], _words(tail)
    right = MAIN + max(sum(map(_width, one)) + GAP * (len(one) + 1) for one in (*lines, back))
    bottom = top + ROW * len(lines) + (14 if back else 4)
    shapes = [_line(f"M{MAIN} {top - 2}V{bottom - 9}")]
    for number, words in enumerate(lines):
        y, x = top + ROW * number + 11, float(MAIN)
        for word in words:
            shapes += [_line(f"M{x:g} {y:g}h{GAP}"), *_box(x + GAP, y, word)]
            x += GAP + _width(word)
        shapes.append(_line(f"M{x:g} {y:g}H{right:g}V{bottom:g}"))
    x = right
    for word in back:
        shapes += [_line(f"M{x:g} {bottom:g}h{-GAP}"), *_box(x - GAP - _width(word), bottom, word)]
        x -= GAP + _width(word)
    shapes += [
        _line(f"M{x:g} {bottom:g}H{MAIN + 9}l5 -4m-5 4l5 4"),
        f'<circle cx="{MAIN}" cy="{bottom:g}" r="9"/>',
        _label(MAIN, bottom + 4.5, operation.strip()),
    ]
    return shapes, bottom + 11


def _words(row: str) -> Sequence[str]:
    return [word.strip() for word in row.split(">") if word.strip()]


def _width(word: str) -> float:
    return LETTER * len(word) + PADDING


def _box(x: float, y: float, word: str) -> list[str]:
    """A box with a word in it, from x to the right, in the middle of the line at y."""
    width = _width(word)
    frame = f'<rect x="{x:g}" y="{y - BOX / 2:g}" width="{width:g}" height="{BOX}" rx="4"/>'
    return [frame, _label(x + width / 2, y + 4.5, word)]


def _line(path: str) -> str:
    return f'<path d="{path}" stroke-opacity="0.6"/>'


def _label(x: float, y: float, word: str) -> str:
    label = escape(word)
    return f'<text x="{x:g}" y="{y:g}" fill="currentColor" stroke="none">{label}</text>'

"""Tables of texts: a pandas DataFrame as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["markdown"]


def markdown(frame: DataFrame, *notes: str) -> str:
    """The frame's texts as a Markdown table, then a paragraph for each note.

    Columns are padded to one width; the first is aligned left, the others right.
    """
    head, rule = list(frame.columns), [":--", *["--:"] * (frame.shape[1] - 1)]
    lines = [head, rule, *frame.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n\n".join(["\n".join(f"| {' | '.join(cells)} |" for cells in padded), *notes])

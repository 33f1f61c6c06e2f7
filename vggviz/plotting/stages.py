"""Names of stages shortened to the width of a column, so that they stay different."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import takewhile

__all__ = ["headings"]

BEFORE = 6  # letters shown before the first by which names differ


def headings(names: Sequence[str], fits: Callable[[str], bool]) -> dict[str, str]:
    """Each name, shortened in its middle where it does not fit: 'featur…r12.conv2'.

    Names that would look alike are shown from where they begin to differ ('…layer_3.self…'); where
    these look alike too, they are numbered.
    """
    result = {name: _shorten(name, fits) for name in names}
    for text in set(result.values()):
        alike = [name for name, other in result.items() if other == text]
        if len(alike) > 1:
            letters = zip(*alike, strict=False)
            shared = len(list(takewhile(lambda column: len(set(column)) == 1, letters)))
            start = max(0, shared - BEFORE)
            result |= {name: _cut("…" * (start > 0) + name[start:], fits) for name in alike}
    if len(set(result.values())) < len(result):
        numbered = (f"{number}: {name}" for number, name in enumerate(names, 1))
        result = {name: _shorten(text, fits) for name, text in zip(names, numbered, strict=True)}
    return result


def _shorten(text: str, fits: Callable[[str], bool]) -> str:
    """A third from the start of a text and two from its end, as much as fits."""
    return _longest(text, lambda n: f"{text[: n // 3]}…{text[len(text) - (n - n // 3) :]}", fits)


def _cut(text: str, fits: Callable[[str], bool]) -> str:
    """As much from the start of a text as fits."""
    return _longest(text, lambda count: f"{text[:count]}…", fits)


def _longest(text: str, part: Callable[[int], str], fits: Callable[[str], bool]) -> str:
    """The text, or what `part` keeps of it with as many letters as fit."""
    if fits(text):
        return text
    return part(bisect(range(1, len(text)), False, key=lambda count: not fits(part(count))))

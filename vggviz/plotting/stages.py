"""Stages of a network as columns: their order, and short names that stay different."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile

__all__ = ["headings", "in_order"]


def in_order(names: Iterable[str], order: Sequence[str] = ()) -> list[str]:
    """Each of `names` once: first those in `order`, the network's own, then the others.

    The others stand in natural order: part by part of a dotted path, parts that differ only in
    their numbers by these ('features.2' before 'features.10'), parts that differ in their words
    as they came ('stem' before 'blocks').
    """
    words: dict[tuple[str, ...], dict[str, int]] = {}

    def natural(name: str) -> list[tuple[int, tuple[int, ...]]]:
        parts = name.split(".")
        key: list[tuple[int, tuple[int, ...]]] = []
        for depth, part in enumerate(parts):
            known = words.setdefault(tuple(parts[:depth]), {})
            rank = known.setdefault(re.sub("[0-9]+", "#", part), len(known))
            key.append((rank, tuple(map(int, re.findall("[0-9]{1,18}", part)))))
        return key

    there = dict.fromkeys(names)
    first = [name for name in dict.fromkeys(order) if name in there]
    return [*first, *sorted((name for name in there if name not in first), key=natural)]


def headings(names: Sequence[str], fits: Callable[[str], bool]) -> dict[str, str]:
    """Each name, shortened in its middle where it does not fit: 'featur…r12.conv2'.

    Names that would look alike then show what is different between them ('…layer_3.self…'); where
    that does not fit either, they are numbered.
    """
    shown = {name: _shorten(name, fits) for name in names}
    for text in set(shown.values()):
        alike = [name for name, other in shown.items() if other == text]
        if len(alike) > 1:
            shown |= {name: _different(name, alike, fits) for name in alike}
    if len(set(shown.values())) < len(shown):
        numbered = (f"{number}: {name}" for number, name in enumerate(names, 1))
        shown = {name: _shorten(text, fits) for name, text in zip(names, numbered, strict=True)}
    return shown


def _shorten(text: str, fits: Callable[[str], bool]) -> str:
    """The text itself, or a third from its start and two from its end, as much as fits."""
    if fits(text):
        return text

    def kept(count: int) -> str:
        return f"{text[: count // 3]}…{text[len(text) - (count - count // 3) :]}"

    return kept(bisect(range(1, len(text)), False, key=lambda count: not fits(kept(count))))


def _shared(texts: Sequence[str]) -> int:
    """How many characters all texts start with."""
    columns = zip(*texts, strict=False)
    return sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, columns))


def _different(name: str, others: Sequence[str], fits: Callable[[str], bool]) -> str:
    """The part of `name` by which it differs from `others`, with as much around it as fits."""
    start = _shared(others)
    end = len(name) - _shared([other[start:][::-1] for other in others])

    def window(start: int, end: int) -> str:
        return "…" * (start > 0) + name[start:end] + "…" * (end < len(name))

    if not fits(window(start, end)):
        return _shorten(name[start:end], fits)
    while start > 0 and fits(window(start - 1, end)):
        start -= 1
        end += end < len(name) and fits(window(start, end + 1))
    while end < len(name) and fits(window(start, end + 1)):
        end += 1
    return window(start, end)

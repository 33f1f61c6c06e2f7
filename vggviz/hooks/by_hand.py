"""Softmax, sigmoid and hard sigmoid that a network writes out in elementary functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vggviz.hooks.marks import MULTIPLY, Half, Note

__all__ = ["follow_halves"]

Whole = tuple[int | None]  # the origin for a root, None for a softmax


def follow_halves(
    name: str, notes: Sequence[Note], given: Sequence[Any], constant_first: bool
) -> tuple[Whole | None, Half | None]:
    """What the output of the elementwise function `name` is: a squashed tensor, half of one, or
    neither. `notes` are those of the inputs that come from the picture, `given` all arguments;
    `constant_first` tells whether the first of them is no such input.

    Known are exp(x) / Σ exp(x), exp(x) / (1 + exp(x)), 1 / (1 + exp(−x)), relu6(x) / 6,
    clamp(x, 0, 6) / 6, and clamp(x, 0, 1).
    """
    if not notes:
        return None, None
    origin, half = notes[0].origin, notes[0].half
    numbers = [x for x in given if isinstance(x, int | float)]
    bounds = numbers[:2] if name in ("clamp", "clip", "hardtanh") else None
    divided = "div" in name
    whole: Whole | None = None
    if name == "exp":
        return None, ("exp", origin)
    if name == "relu6" or bounds == [0, 6]:
        return None, ("clamp", origin)
    if bounds == [0, 1]:
        return (origin,), None
    if half is None or any(note.half != half for note in notes):
        return None, None
    if len(notes) == 2:
        if divided:
            whole = (half[1],) if origin == notes[1].origin else (None,)
        return whole, None
    if half[0] == "exp":
        below = name in ("rdiv", "reciprocal") or (divided and constant_first)
        whole = (half[1],) if below else None
    elif (divided and numbers[-1:] == [6]) or (
        name in MULTIPLY and any(abs(6 * number - 1) < 1e-6 for number in numbers)
    ):
        whole = (half[1],)
    return whole, None if whole else half

"""Numbers and ranges as text."""

from __future__ import annotations

import math

__all__ = ["number", "range_text"]

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, digits: int) -> str:
    """With so many significant digits, in letters that a page can set: 3.21×10⁻⁷; '–' for none."""
    if not math.isfinite(value):
        return "–"
    mantissa, _, exponent = f"{value:#.{digits}g}".partition("e")
    power = f"×10{str(int(exponent)).translate(SUPERSCRIPT)}" if exponent else ""
    return (mantissa.rstrip(".").replace("-", "−") + power) if value else "0"


def range_text(low: float, high: float, digits: int = 2) -> tuple[str, str]:
    """Both numbers with the fewest digits, from `digits` to 7, with which they differ."""
    for count in range(digits, 8):
        found = number(low, count), number(high, count)
        if found[0] != found[1]:
            return found
    return number(low, digits), number(high, digits)

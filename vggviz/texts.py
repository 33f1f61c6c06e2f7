"""Texts from outside: which characters may be shown as they are, and the others made visible."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["UNSEEN", "is_blank", "visible"]

# Control characters steer a terminal; those of writing direction make a text look like another.
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that are never shown as they are: controls, line ends, directions, half pairs."""
# Letters and symbols by their category that have no ink: Hangul fillers, an empty Braille cell.
EMPTY = "\u115f\u1160\u2800\u3164\uffa0"


def visible(text: str) -> str:
    r"""`text` on one line that is safe to print: `UNSEEN` characters as escapes, such as '\x1b'."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def is_blank(text: str) -> bool:
    """Whether a reader sees nothing: no characters, or only blanks, formatting and bare marks."""
    return all(unicodedata.category(letter)[0] in "CZM" or letter in EMPTY for letter in text)

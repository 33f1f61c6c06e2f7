"""The structure of a JSON text, counted before the text is parsed.

A few megabytes of brackets become gigabytes of Python objects, which take the event loop as long to
make: a limit of bytes does not bound them.
"""

from __future__ import annotations

import re

__all__ = ["DEPTH", "ELEMENTS", "Structure"]

DEPTH = 100
ELEMENTS = 100_000  # a request of the page has some fifty

_MARK = re.compile(rb'["\[\]{},]')
_TEXT = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


class Structure:
    """Counts strings, arrays, objects and commas, and the depth, of a JSON text in chunks.

    A chunk may end anywhere: inside a string (`_in_string`), or behind a backslash (`_escaped`).
    """

    def __init__(self) -> None:
        self._depth = self._elements = 0
        self._in_string = self._escaped = False

    def fits(self, chunk: bytes) -> bool:
        """Whether the text so far, with this chunk, is within `DEPTH` and `ELEMENTS`.

        A zero byte does not fit: JSON in UTF-8 has none, and in UTF-16 or UTF-32 the quotes can't
        be found bytewise.
        """
        if b"\0" in chunk:
            return False
        at = int(self._escaped and bool(chunk))
        self._escaped = self._escaped and not chunk
        while at < len(chunk):
            if self._in_string:
                text = _TEXT.match(chunk, at)
                at = text.end() if text else at
                if at < len(chunk):
                    self._in_string = self._escaped = chunk[at : at + 1] == b"\\"
                    at += 1
                continue
            if not (mark := _MARK.search(chunk, at)):
                break
            at = mark.end()
            closes = mark[0] in b"]}"
            self._in_string = mark[0] == b'"'
            self._elements += not closes
            self._depth += -1 if closes else mark[0] in b"[{"
            if self._depth > DEPTH or self._elements > ELEMENTS:
                return False
        return True

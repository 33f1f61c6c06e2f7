"""What the page says, in each of its languages: one file a room of the page, two dicts a file."""

from __future__ import annotations

from vggviz.app.texts import (
    api,
    attention,
    blocks,
    explore,
    faithful,
    lessons,
    pixel,
    shell,
    take_home,
    trouble,
    types,
    what_if,
)

__all__ = ["LANGUAGES", "TEXTS", "preferred", "say"]

_ROOMS = (
    *(shell, take_home, attention, explore, trouble),
    *(pixel, blocks, types, what_if, faithful, lessons, api),
)

LANGUAGES = {"en": "English", "zh": "中文"}
"""The languages by their own names, the default first."""

TEXTS: dict[str, dict[str, str]] = {
    "en": {key: text for room in _ROOMS for key, text in room.EN.items()},
    "zh": {key: text for room in _ROOMS for key, text in room.ZH.items()},
}
"""Each sentence by language and key ('room.what'), with `{names}` for what goes into it."""


def say(lang: str, key: str, **values: object) -> str:
    """The sentence of this key in this language, its `{names}` filled in: text, not markup.

    A language that is not there is English. Raises KeyError for an unknown key or a missing value.
    """
    text = TEXTS.get(lang, TEXTS["en"])[key]
    return text.format(**values) if values else text


def preferred(asked: str | None, accepted: str | None) -> str:
    """The language that `?lang=` asks for, or the first known one of an Accept-Language header.

    Browsers list what they want most first, so that q-values need no reading.
    """
    for wish in (asked or "", *(accepted or "").split(",")):
        base = wish.split(";")[0].strip().split("-")[0].lower()
        if base in LANGUAGES:
            return base
    return "en"

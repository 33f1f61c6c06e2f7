"""Every text of page, report and errors, by language and key: one JSON file per language.

A key is '<part>.<name>'; `{names}` in a text are filled in with values. English is complete, and
stands in for whatever another file lacks. To add a language, add its file, and in `classes` one
with the names of the bundled network's classes, by their English labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "CLASSES",
    "LANGUAGES",
    "TEXTS",
    "class_name",
    "preferred_language",
    "section",
    "text",
    "translated",
]


def _load(folder: Path) -> dict[str, dict[str, str]]:
    """The texts of each file in `folder` by language code, English first."""
    english: dict[str, str] = json.loads((folder / "en.json").read_text("utf-8"))
    others = sorted(file for file in folder.glob("*.json") if file.stem != "en")
    return {
        "en": english,
        **{file.stem: {**english, **json.loads(file.read_text("utf-8"))} for file in others},
    }


TEXTS: Mapping[str, Mapping[str, str]] = _load(Path(__file__).parent)
"""Texts by language code and key; every language has every key."""

LANGUAGES: Mapping[str, str] = {lang: texts["language.name"] for lang, texts in TEXTS.items()}
"""Language codes with the language's own name, the default first."""


def text(lang: str, key: str, **values: object) -> str:
    """The text of `key` in `lang`, its `{names}` filled in with `values`: plain text, not markup.

    An unknown language is English. Raises KeyError for an unknown key or a missing value.
    """
    found = TEXTS.get(lang, TEXTS["en"])[key]
    return found.format(**values) if values else found


def translated(lang: str, key: str, english: str) -> str:
    """The text of `key` in `lang`, or `english`, which stands in a spec and not in en.json."""
    return TEXTS.get(lang, TEXTS["en"]).get(key, english)


CLASSES: Mapping[str, Mapping[str, str]] = {
    file.stem: json.loads(file.read_text("utf-8"))
    for file in (Path(__file__).parent / "classes").glob("*.json")
}
"""The names of the bundled network's classes by language code and English label."""


def class_name(lang: str, label: str) -> str:
    """The name in `lang` of the class with this English label, or the label where it has none."""
    return CLASSES.get(lang, {}).get(label, label)


def section(lang: str, part: str) -> dict[str, str]:
    """All texts of one part, by what follows '<part>.' in their keys."""
    texts = TEXTS.get(lang, TEXTS["en"])
    return {
        key[len(part) + 1 :]: found for key, found in texts.items() if key.startswith(f"{part}.")
    }


def preferred_language(requested: str | None, accepted: str | None) -> str:
    """The language of `?lang=`, else the first known one of an Accept-Language header, else 'en'.

    Browsers list languages in order of preference, so q-values are not read.
    """
    for tag in (requested or "", *(accepted or "").split(",")):
        base = tag.split(";")[0].strip().split("-")[0].lower()
        if base in TEXTS:
            return base
    return "en"

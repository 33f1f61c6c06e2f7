"""The fonts of a figure, chosen by the characters that they have.

First DejaVu Sans, which comes with matplotlib, so that equal figures are equal everywhere; then the
fonts of the system; last the subset of Noto Sans CJK in `assets/fonts`, which has the common
characters of Chinese, Japanese and Korean. What none of them has is written as an ASCII escape.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vggviz.files import assets_folder

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry, FontProperties
    from matplotlib.ft2font import FT2Font

__all__ = ["drawable", "font", "missing", "scripts"]

SANS = re.compile(r"sans|gothic|hei|\bui$", re.IGNORECASE)
# Fonts that draw a box, or nothing, for every character there is.
PLACEHOLDER = re.compile(r"last ?resort|adobe ?blank|fallback", re.IGNORECASE)
# Chinese characters look different in Japan and Korea: which form a text that has these wants.
REGIONS = {"JP": re.compile("[\u3040-\u30ff]"), "KR": re.compile("[\u1100-\u11ff\uac00-\ud7a3]")}


def font(text: str, size: float, bold: bool = False) -> FontProperties:
    """The fonts in which `text` is drawn at `size` points: DejaVu Sans, and others where it lacks
    characters."""
    from matplotlib.font_manager import FontProperties

    others = {entry.fname: entry for entry in _others(text, bold).values()}
    if not others:
        return FontProperties(fname=_dejavu(bold), size=size)
    # Given in full: what is left out would come from matplotlib's settings.
    return FontProperties(
        family=[_register(entry) for entry in (_entry(_dejavu(bold)), *others.values())],
        style="normal",
        variant="normal",
        weight="normal",
        stretch="normal",
        size=size,
    )


def missing(text: str) -> str:
    """The visible characters of `text` that no font here has, each once, in order."""
    return "".join(letter for letter, escape in _escapes(text, bold=False).items() if escape)


def drawable(text: str, bold: bool = False) -> str:
    r"""`text` with ASCII escapes, such as '\u0e41', for the characters that no font here has.

    Formatting characters among them (Unicode category Cf), which are invisible, are left out.
    """
    absent = _escapes(text, bold)
    return "".join(absent.get(letter, letter) for letter in text)


def _escapes(text: str, bold: bool) -> dict[str, str]:
    """What stands for each character of `text` that no font here has."""
    fonts, base = _others(text, bold), _dejavu_font(bold)
    return {
        letter: ""
        if unicodedata.category(letter) == "Cf"
        else letter.encode("unicode_escape").decode()
        for letter in dict.fromkeys(text)
        if letter not in fonts and not _has(base, letter)
    }


def scripts(text: str) -> list[str]:
    """The scripts of the letters and marks in `text` ('Thai', 'CJK'), and 'symbols' for others."""
    names = (
        unicodedata.name(letter, "symbols").split()[0].capitalize()
        if unicodedata.category(letter)[0] in "LM"
        else "symbols"
        for letter in text
    )
    return [name.replace("Cjk", "CJK") for name in dict.fromkeys(names)]


def _others(text: str, bold: bool) -> Mapping[str, FontEntry]:
    """A font for each character that DejaVu Sans lacks and another font has."""
    base = _dejavu_font(bold)
    lacking = frozenset(letter for letter in set(text) if not _has(base, letter))
    region = next((name for name, kind in REGIONS.items() if kind.search(text)), "SC")
    return _fonts_of(lacking, bold, region) if lacking else {}


@lru_cache(maxsize=256)
def _fonts_of(letters: frozenset[str], bold: bool, region: str) -> Mapping[str, FontEntry]:
    """The first font for each of `letters`, in one pass over all fonts until each has one."""
    fonts: dict[str, FontEntry] = {}
    for entry in _candidates(bold, region):
        try:
            opened = _open(entry)
        except (OSError, RuntimeError):  # a broken file is not the figure's trouble
            continue
        fonts |= {letter: entry for letter in letters - fonts.keys() if _has(opened, letter)}
        if len(fonts) == len(letters):
            break
    return fonts


def _candidates(bold: bool, region: str) -> Iterator[FontEntry]:
    """DejaVu Sans in its regular weight, the system's fonts, the one that comes along."""
    from matplotlib import font_manager, get_data_path

    def unlike(entry: FontEntry) -> tuple[object, ...]:
        """Smallest for an upright sans serif of the region and weight."""
        weight = font_manager.weight_dict.get(str(entry.weight), entry.weight)
        return (
            not SANS.search(entry.name),
            "mono" in entry.name.lower(),
            entry.style != "normal",
            not entry.name.endswith(region),
            abs(int(weight) - (700 if bold else 400)),
            entry.name,
            entry.fname,
        )

    own = Path(
        get_data_path()
    )  # with fonts for mathematics, whose characters are not what they say
    system = [
        entry
        for entry in list(font_manager.fontManager.ttflist)
        if not (PLACEHOLDER.search(entry.name) or own in Path(entry.fname).parents)
    ]
    yield _entry(_dejavu(bold=False))
    yield from sorted(system, key=unlike)
    yield _entry(str(assets_folder() / "fonts" / "NotoSansCJKsc-subset.otf"))


def _entry(file: str) -> FontEntry:
    from matplotlib.font_manager import FontEntry

    return FontEntry(fname=file, name=Path(file).stem)


def _register(entry: FontEntry) -> str:
    """Make a font known to matplotlib under a family name that is its alone, and return the name.

    Matplotlib falls back from font to font by the names of families only. The entry goes to the
    front, where looking it up is quickest.
    """
    from matplotlib.font_manager import fontManager

    named = replace(
        entry,
        name=f"vggviz {entry.fname} {getattr(entry, 'index', 0)}",
        style="normal",
        variant="normal",
        weight="normal",
        stretch="normal",
        size="scalable",
    )
    if named not in fontManager.ttflist:
        fontManager.ttflist.insert(0, named)
    return named.name


def _dejavu(bold: bool) -> str:
    from matplotlib import get_data_path

    return f"{get_data_path()}/fonts/ttf/DejaVuSans{'-Bold' if bold else ''}.ttf"


def _dejavu_font(bold: bool) -> FT2Font:
    from matplotlib.font_manager import get_font

    return get_font(_dejavu(bold))


def _open(entry: FontEntry) -> FT2Font:
    """The font of an entry; since matplotlib 3.11 a file may hold several."""
    from matplotlib.ft2font import FT2Font

    index = getattr(entry, "index", 0)
    return FT2Font(entry.fname, face_index=index) if index else FT2Font(entry.fname)


def _has(opened: FT2Font, letter: str) -> bool:
    return opened.get_char_index(ord(letter)) != 0

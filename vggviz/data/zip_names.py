"""Decoded names of files in a zip archive, also where they are in a local code page."""

from __future__ import annotations

import math
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable

__all__ = ["member_names"]

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field

# The most common Korean syllables, which distinguish short Korean names from Chinese ones: their
# bytes are valid in both encodings.
_COMMON_HANGUL = frozenset(
    "이가다나사기고인지자리스대시부한도해아수정어일전제구원화국소주하장는의에서로을그라보조성공연비상미선중동여방학과"
    "안산용유무만오개남우물반영생신문진체러마세강거양바요백천호치간분모식실경있것들명레터트드크니디네토타카파람랑새말닭돼토끼"
)


def member_names(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by their decoded names, with '/' between folders (a folder ends with one).

    A name is UTF-8 where its flag or Info-ZIP's Unicode path field says so. Other names are in the
    code page of the computer where they were packed, which the format does not record: all of one
    archive are decoded in the encoding under which they are most probable together (see `_cost`).
    Backslashes, which PowerShell 5 and .NET wrote, become slashes.
    """
    raw: dict[int, bytes] = {}
    decoded: dict[int, str] = {}
    members = archive.infolist()
    for index, member in enumerate(members):
        if member.flag_bits & _UTF8_FLAG:
            decoded[index] = member.orig_filename
            continue
        name = member.orig_filename.encode("cp437")
        unicode_path = _unicode_path(member.extra, name)
        if unicode_path is None:
            raw[index] = name
        else:
            decoded[index] = unicode_path
    encoding = _detect(raw.values())
    decoded |= {index: name.decode(encoding, "replace") for index, name in raw.items()}
    return {_normalise(decoded[index]): member for index, member in enumerate(members)}


def _normalise(name: str) -> str:
    """Slashes between parts, and no part that is empty or '.'; a folder keeps its last slash."""
    name = name.split("\0", 1)[0].replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts) + ("/" if name.endswith("/") else "")


def _unicode_path(extra: bytes, name: bytes) -> str | None:
    """The name in Info-ZIP's Unicode path field, which holds the CRC-32 of the name it stands for
    (APPNOTE 4.6.9)."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        checked = kind == _UNICODE_PATH and len(field) > 5 and field[0] == 1
        if checked and int.from_bytes(field[1:5], "little") == zlib.crc32(name):
            return field[5:].decode("utf-8", "replace")
    return None


def _detect(names: Iterable[bytes]) -> str:
    """The encoding under which all `names` together are most probable."""
    parts = {part for name in names for part in name.split(b"/") if not part.isascii()}
    costs = {
        encoding: sum(_cost(part.decode(encoding), encoding) for part in parts) - math.log(prior)
        for encoding, prior in _PRIORS.items()
        if all(_decodes(part, encoding) for part in parts)
    }
    return min(costs, key=costs.__getitem__, default="cp437")


def _decodes(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _cost(text: str, encoding: str) -> float:
    """−log P(text | encoding): each character is drawn from a class of characters, and evenly
    within it. What is rare in names costs more: other letters, or ideographs, within a Latin word,
    'ö' before a capital letter or on its own."""
    total = 0.0
    for before, character, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if character.isascii():
            total += math.log(60)
            continue
        total -= math.log(_probability(character, encoding))
        neighbours = _is_ascii_letter(before) + _is_ascii_letter(after)
        if not _is_latin(character):
            total += 3 * neighbours
        elif character.islower():
            total += 3 * (neighbours == 0) + 3 * ("A" <= after <= "Z")
    return total


def _probability(character: str, encoding: str) -> float:
    """P of a character that is not ASCII, by the first of its encoding's `_CLASSES` that has it."""
    if encoding == "cp949" and character in _COMMON_HANGUL:
        return 0.75 / len(_COMMON_HANGUL)
    wide = encoding in ("gbk", "cp932", "cp949", "cp950")
    code = int.from_bytes(character.encode(encoding), "big") if wide else ord(character)
    return next(
        mass / size
        for encodings, first, last, low, mass, size in _CLASSES
        if encoding in encodings and first <= code <= last and code & 0xFF >= low
    )


def _is_ascii_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _is_latin(character: str) -> bool:
    return character.isalpha() and unicodedata.name(character, "").startswith("LATIN")


# How often each encoding is met; only ratios count.
_PRIORS = {
    **{"utf-8": 0.5, "gbk": 0.35, "cp932": 0.2, "cp949": 0.1, "cp950": 0.1},
    **{"cp437": 0.08, "cp850": 0.08, "cp866": 0.05, "cp1251": 0.01},
}
# Classes of characters: encodings, first and last code, lowest second byte, the share of characters
# from the class, and its size. Codes are the encoding's own where it has two bytes, else Unicode's.
_CLASSES = [
    ("utf-8", 0xC0, 0x17F, 0, 0.2, 100),  # Latin with accents
    ("utf-8", 0x386, 0x6FF, 0, 0.2, 100),  # other alphabets
    ("utf-8", 0x700, 0x1FFF, 0, 0.55, 20_000),
    ("utf-8", 0x3005, 0xD7FF, 0, 0.55, 20_000),  # kana, ideographs, syllables
    ("utf-8", 0, 0x10FFFF, 0, 0.02, 2000),
    ("gbk", 0xB0A1, 0xD7FE, 0xA1, 0.9, 3755),  # level 1 of GB 2312, the common ideographs
    ("gbk", 0xD8A1, 0xF7FE, 0xA1, 0.04, 3008),  # level 2
    ("gbk", 0xA140, 0xA3FE, 0, 0.03, 100),  # punctuation
    ("gbk", 0, 0xFFFF, 0, 0.005, 14_240),
    ("cp932", 0xA1, 0xDF, 0, 0.002, 63),  # half-width kana, hardly used in names
    ("cp932", 0x829F, 0x8396, 0, 0.45, 170),  # kana
    ("cp932", 0x8158, 0x815B, 0, 0.45, 170),  # '々' and the long vowel 'ー'
    ("cp932", 0x889F, 0x9872, 0, 0.45, 2965),  # level 1 of JIS X 0208
    ("cp932", 0x989F, 0xEAA4, 0, 0.02, 3390),  # level 2
    ("cp932", 0, 0xFFFF, 0, 0.01, 500),
    ("cp949", 0xB0A1, 0xC8FE, 0xA1, 0.15, 2350 - len(_COMMON_HANGUL)),  # KS X 1001
    ("cp949", 0, 0xFFFF, 0, 0.02, 13_700),
    ("cp950", 0xA440, 0xC6FE, 0, 0.93, 5401),  # level 1
    ("cp950", 0, 0xA3FE, 0, 0.03, 400),
    ("cp950", 0, 0xFFFF, 0, 0.03, 7652),  # level 2
    ("cp437 cp850", 0xC0, 0x17F, 0, 0.12, 40),
    ("cp437 cp850", 0, 0x10FFFF, 0, 0.001, 60),
    ("cp866 cp1251", 0x430, 0x44F, 0, 0.9, 33),  # lower case
    ("cp866 cp1251", 0x400, 0x4FF, 0, 0.09, 50),
    ("cp866 cp1251", 0, 0x10FFFF, 0, 0.001, 60),
]

"""The names of files in a zip archive, also of one that was packed in a local code page."""

from __future__ import annotations

import math
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable

__all__ = ["member_names"]

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field

# The Korean syllables that most words are made of, by which short Korean names are told from
# Chinese ones: all of their bytes are valid in both.
_COMMON_HANGUL = frozenset(
    "이가다나사기고인지자리스대시부한도해아수정어일전제구원화국소주하장는의에서로을그라보조성공연비상미선중동여방학과"
    "안산용유무만오개남우물반영생신문진체러마세강거양바요백천호치간분모식실경있것들명레터트드크니디네토타카파람랑새말닭돼토끼"
)


def member_names(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members by their decoded names, with '/' between folders (a folder ends with one).

    A name is UTF-8 where its flag or Info-ZIP's Unicode path field says so. Other names come in
    the code page of whoever packed them, which the format does not record: all of one archive are
    read in the encoding under which they are likeliest together (see `_cost`). Backslashes, which
    PowerShell 5 and .NET wrote, become slashes.
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
    """The encoding under which all `names` together are likeliest."""
    parts = {part for name in names for part in name.split(b"/") if not part.isascii()}
    costs = {
        encoding: sum(_cost(part.decode(encoding), encoding) for part in parts) - math.log(prior)
        for encoding, (prior, _) in _ENCODINGS.items()
        if _decodes(parts, encoding)
    }
    return min(costs, key=costs.__getitem__, default="cp437")


def _decodes(names: Iterable[bytes], encoding: str) -> bool:
    try:
        for name in names:
            name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _cost(text: str, encoding: str) -> float:
    """−log P(text | encoding): each character is drawn from a class of characters, and evenly
    within it. What names hardly ever do costs more: other letters, or ideographs, within a Latin
    word, 'ö' before a capital letter or on its own."""
    character_cost = _ENCODINGS[encoding][1]
    total = 0.0
    for before, character, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if character.isascii():
            total += math.log(60)
            continue
        total += character_cost(character)
        neighbours = _is_ascii_letter(before) + _is_ascii_letter(after)
        if not _is_latin(character):
            total += 3 * neighbours
        elif character.islower():
            total += 3 * (neighbours == 0) + 3 * ("A" <= after <= "Z")
    return total


def _is_ascii_letter(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _is_latin(character: str) -> bool:
    return character.isalpha() and unicodedata.name(character, "").startswith("LATIN")


def _evenly(mass: float, size: int) -> float:
    return -math.log(mass / size)


def _unicode(character: str) -> float:
    """UTF-8: accents, letters of other alphabets, ideographs and syllables, and all else."""
    if _is_latin(character) and ord(character) < 0x180:
        return _evenly(0.2, 100)
    if 0x386 <= ord(character) <= 0x6FF and character.isalpha():
        return _evenly(0.2, 100)
    letter = character.isalpha() and ord(character) >= 0x700
    return _evenly(0.55, 20_000) if letter else _evenly(0.02, 2000)


def _chinese(character: str) -> float:
    """GBK: level 1 of GB 2312 are the common ideographs, level 2 rare ones, the others rarer."""
    high, low = character.encode("gbk")[0], character.encode("gbk")[-1]
    if low >= 0xA1 and 0xB0 <= high <= 0xD7:
        return _evenly(0.9, 3755)
    if low >= 0xA1 and 0xD8 <= high <= 0xF7:
        return _evenly(0.04, 3008)
    return _evenly(0.03, 100) if 0xA1 <= high <= 0xA3 else _evenly(0.005, 14_240)


def _japanese(character: str) -> float:
    """Shift-JIS: kana, then level 1 of JIS X 0208; half-width kana are hardly used in names."""
    code = ord(character)
    if 0x3041 <= code <= 0x30FE or character == "々":
        return _evenly(0.45, 170)
    encoded = character.encode("cp932")
    if len(encoded) == 1:
        return _evenly(0.002, 63)
    if 0x889F <= int.from_bytes(encoded, "big") <= 0x9872:
        return _evenly(0.45, 2965)
    return _evenly(0.02, 3390) if 0x4E00 <= code <= 0x9FFF else _evenly(0.01, 500)


def _traditional(character: str) -> float:
    """Big5: level 1, then level 2."""
    high = character.encode("cp950")[0]
    if 0xA4 <= high <= 0xC6:
        return _evenly(0.93, 5401)
    return _evenly(0.03, 400) if high < 0xA4 else _evenly(0.03, 7652)


def _korean(character: str) -> float:
    """Windows-949: common syllables, the others of KS X 1001, and all that is rarer."""
    if character in _COMMON_HANGUL:
        return _evenly(0.75, len(_COMMON_HANGUL))
    high, low = character.encode("cp949")[0], character.encode("cp949")[-1]
    if low >= 0xA1 and 0xB0 <= high <= 0xC8:
        return _evenly(0.15, 2350 - len(_COMMON_HANGUL))
    return _evenly(0.02, 13_700)


def _latin(character: str) -> float:
    return _evenly(0.12, 40) if _is_latin(character) else _evenly(0.001, 60)


def _cyrillic(character: str) -> float:
    cyrillic = unicodedata.name(character, "").startswith("CYRILLIC")
    if cyrillic and character in "абвгдежзийклмнопрстуфхцчшщъыьэюя":
        return _evenly(0.9, 33)
    return _evenly(0.09, 50) if cyrillic else _evenly(0.001, 60)


# How often each is met (only ratios count), and −log P of a character that is not ASCII.
_ENCODINGS: dict[str, tuple[float, Callable[[str], float]]] = {
    "utf-8": (0.5, _unicode),
    "gbk": (0.35, _chinese),
    "cp932": (0.2, _japanese),
    "cp949": (0.1, _korean),
    "cp950": (0.1, _traditional),
    "cp437": (0.08, _latin),
    "cp850": (0.08, _latin),
    "cp866": (0.05, _cyrillic),
    "cp1251": (0.01, _cyrillic),
}

"""Make NotoSansCJKsc-subset.otf: `python subset.py NotoSansCJK-Regular.ttc` (needs fonttools).

The letters are those of GB 2312 (simplified Chinese), the first levels of Big5 (traditional
Chinese) and JIS X 0208 (Japanese), the kana, and the syllables of KS X 1001 (Korean), in the forms
of simplified Chinese. The source is Noto Sans CJK 2.004, Debian's package fonts-noto-cjk.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection

ROWS = {  # codec: first bytes
    "gb2312": range(0xA1, 0xF8),
    "big5": range(0xA4, 0xC7),
    "euc_jp": range(0xA1, 0xD0),
    "euc_kr": range(0xB0, 0xC9),
}


def letters() -> set[int]:
    """The code points, with ASCII."""
    found = set(range(0x20, 0x7F))
    for codec, rows in ROWS.items():
        pairs = (bytes((row, column)) for row in rows for column in range(0x40, 0xFF))
        found |= {ord(text) for pair in pairs if len(text := pair.decode(codec, "ignore")) == 1}
    return found


if __name__ == "__main__":
    font = TTCollection(sys.argv[1]).fonts[2]  # the face SC
    options = subset.Options(hinting=False, layout_features=[], glyph_names=False)
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
    options.drop_tables += ["vhea", "vmtx", "VORG", "BASE", "GSUB", "GPOS"]
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=letters())
    subsetter.subset(font)
    font["head"].modified = font["head"].created  # the same bytes at every run
    font.recalcTimestamp = False
    font.save(Path(__file__).with_name("NotoSansCJKsc-subset.otf"))

"""Sentences of lower floors in Chinese."""

import re

LOWER = (
    (r"(.+) can't be opened: .*", "无法打开 {0}：请重新选择。"),
    (r"(.+) can't be read: .*", "无法读取 {0}：请选择一张图片。"),
    (r"(.+) is empty\.", "{0} 是空文件：请选择另一张图片。"),
    (r"(.+) is too large: at most (\d+) MB .*", "{0} 太大：最多可用 {1} MB。"),
    (r"(.+) is HEIC: .*", "{0} 是 HEIC 格式，这里无法读取：请另存为 JPEG。"),
    (
        r"(.+) has (?:tiles with )?too many pixels: at most (\d+) megapixels .*",
        "{0} 的像素太多：最多可用 {1} 百万像素。",
    ),
    (r"(.+) has too many scans: .* (\d+) here\.", "{0} 的扫描次数太多：这里最多 {1} 次。"),
    (r"(.+) is no picture: expected (.+)\.", "{0} 不是图片：可用的格式有 {1}。"),
    (r"(.+) is truncated or damaged: .*", "{0} 不完整或已损坏：请选择另一张图片。"),
    (
        r"(.+) has (\d+) x (\d+) pixels: each side needs at least (\d+)\.",
        "{0} 只有 {1} × {2} 像素：每边至少需要 {3}。",
    ),
    (
        r"(.+) has (\d+) x (\d+) pixels: at most (\d+) megapixels .*",
        "{0} 有 {1} × {2} 像素：最多可用 {3} 百万像素。",
    ),
    (r"(.+) has values outside (.+)\.", "{0} 含有 {1} 以外的值。"),
    (r"(.+) is in the colour space Lab, .*", "{0} 是 Lab 颜色空间：请另存为 RGB。"),
)
"""Sentences of ImageError by what they match, and the same in Chinese."""


def translated(lang: str, sentence: str) -> str:
    """The sentence in this language; one that is not known here stays as it is."""
    if lang != "zh":
        return sentence
    for pattern, text in LOWER:
        if found := re.fullmatch(pattern, sentence, re.IGNORECASE | re.DOTALL):
            return text.format(*found.groups())
    return sentence

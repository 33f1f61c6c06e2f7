"""Sentences of lower floors in Chinese."""

import re

LOWER = (
    (r"the description in (.+) is too long.*", "{0} 中的描述太长，这里无法读取。"),
    (r"the description in (.+) can't be read: .*", "{0} 中的描述有误，无法使用：请重新导出权重。"),
    (r"(.+) was not written by vggviz: .*", "{0} 不是 vggviz 写的文件：它没有描述。"),
    (r"(.+) does not fit its own description: see (.+)", "{0} 与自己的描述不符：见 {1}。"),
    (r"(.+) holds values that are no numbers: see (.+)", "{0} 含有不是数字的权重：见 {1}。"),
    (r"what the network says is no number: .*", "网络的输出不是数字：它的权重已损坏。"),
    (
        r"(.+) at (.+) overflows: .*",
        "{1} 处的 {0} 溢出：其乘积超出了数值范围，而预测本身没有溢出。",
    ),
    (r"(.+) was trained on another copy of (.+): .*", "{0} 是在另一份 {1} 上训练的。"),
    (
        r"(.+) needs the backbone (.+), which this copy .*",
        "{0} 需要骨干网络 {1}，此版本的 vggviz 没有附带。",
    ),
    (r"(.+) can't be opened: .*", "无法打开 {0}：请重新选择。"),
    (r"(.+) can't be read: .*", "无法读取 {0}：请选择一张图片。"),
    (r"(.+) is empty\.", "{0} 是空文件：请选择另一张图片。"),
    (
        r"(.+) is too large: at most (\d+) MB can be uploaded; .*",
        "{0} 太大：最多可上传 {1} MB。在自己的电脑上，`vggviz serve --weights FILE` "
        "可打开任意大小的文件。",
    ),
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
    (
        r"no class ['\"](.+)['\"]: did you mean ['\"](.+)['\"]\?*\.?",
        "没有“{0}”这个类别：您是指“{1}”吗？",
    ),
    (r"no class ['\"]?(.+?)['\"]?(?::.*)?\.?", "没有“{0}”这个类别。"),
    (r"there is no network '(.+)' with attention '(.+)'\.?", "没有带注意力 {1} 的网络 {0}。"),
    (r"there is no network '(.+)' here.*", "这里没有网络 {0}：请先上传自己的权重。"),
    (r"(.+) is no \.safetensors file.*", "{0} 不是训练所写的 .safetensors 文件。"),
    (r"(.+) is not a whole safetensors file.*", "{0} 不是完整的 safetensors 文件：请重新上传。"),
    (r"(.+) has (\d+) classes, (\d+) at most\.?", "{0} 有 {1} 个类别，最多 {2} 个。"),
    (r"(.+) wants pictures of (\d+) pixels, .*", "{0} 需要 {1} 像素的图片，这里无法使用。"),
    (
        r"(.+) needs the file (.+) beside it.*",
        "{0} 需要旁边的文件 {1}：请在 tiny50 上训练，或用 --out 写到另一个文件夹，得到完整的文件。",
    ),
    (r"(.+) needs the backbone (.+), which is not here\.?", "{0} 需要骨干网络 {1}，这里没有。"),
    (
        r"the file (.+) is no longer here.*",
        "文件 {0} 已不在这里：上传的文件只保留一小时，请重新上传。",
    ),
    (r"no layer '(.+)': .*", "没有层 {0}：可选 block1 到 block5，或 conv1_1 到 pool5 的层。"),
    (r"no method '(.+)': choose from (.+)", "没有方法 {0}：可选 {1}。"),
    (r"position (\(.+\)) is outside the (.+) grid", "位置 {0} 在 {1} 的网格之外。"),
    (r"head (.+) does not exist: there are (.+)", "没有第 {0} 个头：共有 {1} 个，从 0 数起。"),
)
"""Sentences of ImageError and WeightsError by what they match, and the same in Chinese."""


OR = re.compile("['\"] or ['\"]")
"""Between two of several suggestions, each in English quotation marks."""


def translated(lang: str, sentence: str) -> str:
    """The sentence in this language; one that is not known here stays as it is."""
    if lang != "zh":
        return sentence
    for pattern, text in LOWER:
        if found := re.fullmatch(pattern, sentence, re.IGNORECASE | re.DOTALL):
            return text.format(*(OR.sub("”或“", group) for group in found.groups()))
    return sentence

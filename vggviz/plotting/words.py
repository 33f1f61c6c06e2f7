"""What a report says, in each language that it can be written in."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["WORDS"]

EN = {
    "saw": "What the network saw",
    "pixels": "{side} × {side} pixels",
    "says": "What it says",
    "explained": "the class explained",
    "rank": "no. {rank}",
    "block": "Block {number}",
    "channel attention": "Channel attention",
    "spatial attention": "Spatial attention",
    "volume attention": "Attention on every feature",
    "token attention": "Self-attention",
    "pool attention": "Softmax pooling",
    "axis attention": "Attention along rows or columns",
    "branch attention": "Attention over branches",
    "channels": "{count} channels, sorted, from 0 to {top}",
    "mean over channels": "mean over channels",
    "received by each position": "how much each place is looked at",
    "knows no class": "knows no class",
    "flat": "The same everywhere: {value}",
    "narrow": "The range is only {share}% of the largest value.",
    "for": "{method} for {label}",
    "reading": "How to read it",
    "read_colours": "Bright is the largest value of a map, dark its smallest: the numbers under "
    "the colour bar are the raw ones, and two maps have two scales.",
    "read_attention": "Attention is a part of the network: weights that it applies to its "
    "features on the way to its answer. They know no class.",
    "read_cam": "Grad-CAM and its relatives are computed afterwards, for one class: which places "
    "raise the score of this class. Another class gives another map.",
    "read_cause": "Neither proves by itself why the network answered as it did. Whether it "
    "depends on a place can be tested: take the place, or the attention, away.",
    "nothing": "Untrained: all weights are random, nothing here was learned.",
    "backbone": "The attention is untrained: it is blended in with γ = 0, the network ignores it.",
    "replaced": "The attention is untrained: its weights are random, and the network works with "
    "them.",
    "stretched": "Values {low:g} to {high:g} of the picture file are shown as black to white.",
    "one_colour": "The picture has one colour: there is nothing that maps could show.",
    "made": "Made with vggviz {vggviz}, torch {torch}. Network {weights}, attention {attention}, "
    "SHA-256 {fingerprint}.",
    "gamma": "Share of attention that is blended in: {shares}.",
    "again": "Open it again:",
}

ZH = {
    "saw": "网络看到的图像",
    "pixels": "{side} × {side} 像素",
    "says": "网络的回答",
    "explained": "所解释的类别",
    "rank": "第 {rank} 位",
    "block": "第 {number} 块",
    "channel attention": "通道注意力",
    "spatial attention": "空间注意力",
    "volume attention": "逐特征注意力",
    "token attention": "自注意力",
    "pool attention": "softmax 池化",
    "axis attention": "沿行或列的注意力",
    "branch attention": "分支注意力",
    "channels": "{count} 个通道，按权重排序，纵轴 0 到 {top}",
    "mean over channels": "对通道取平均",
    "received by each position": "每个位置被关注的程度",
    "knows no class": "与类别无关",
    "flat": "处处相同：{value}",
    "narrow": "取值范围只有最大值的 {share}%。",
    "for": "{method}：{label}",
    "reading": "如何阅读",
    "read_colours": "亮色是一张图的最大值，暗色是最小值。色条下方是原始数值；两张图的刻度各不相"
    "同。",
    "read_attention": "注意力是网络的一部分：网络在得出答案的途中，用这些权重调节自己的特征。它不"
    "针对任何类别。",
    "read_cam": "Grad-CAM 一类的方法是事后针对某一个类别计算的：哪些位置提高了该类别的得分。换一个"
    "类别，图也随之改变。",
    "read_cause": "二者本身都不能证明网络为什么这样回答。网络是否依赖某个位置，可以检验：去掉这个"
    "位置，或者去掉注意力，再看结果。",
    "nothing": "未经训练：所有权重都是随机的，这里没有任何学到的内容。",
    "backbone": "注意力未经训练：它以 γ = 0 混入，网络会忽略它。",
    "replaced": "注意力未经训练：它的权重是随机的，而网络会使用这些权重。",
    "stretched": "图片文件中 {low:g} 到 {high:g} 的值显示为从黑到白。",
    "one_colour": "图片只有一种颜色：没有什么可供热力图显示。",
    "made": "由 vggviz {vggviz}、torch {torch} 生成。网络 {weights}，注意力 {attention}，SHA-256 "
    "{fingerprint}。",
    "gamma": "注意力混入的比例：{shares}。",
    "again": "重新打开：",
}

WORDS: Mapping[str, Mapping[str, str]] = {"en": EN, "zh": ZH}
"""Each sentence by language and key."""

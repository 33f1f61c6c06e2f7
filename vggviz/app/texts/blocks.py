"""The tab 'All blocks'."""

EN = {
    "blocks.name": "All blocks",
    "blocks.line": "The same picture at each of VGG19's five blocks: fine and local at first, "
    "coarse and about things at last.",
    "blocks.methods": "Maps to compare with attention",
    "blocks.grid": "Attention and maps at each block",
    "blocks.attention": "Attention",
    "blocks.none": "no attention here",
    "blocks.channels": "weighs channels, not places",
    "blocks.unknown": "no map here",
    "blocks.alt": "{name} at {block}",
    "blocks.slow": "{method} runs the network many times. This network is too large "
    "for that here, so it is left out.",
    "blocks.download": "Download as PNG",
}

ZH = {
    "blocks.name": "所有块",
    "blocks.line": "同一张图片在 VGG19 五个块中的样子：开始精细而局部，最后粗略但关乎物体。",
    "blocks.methods": "与注意力比较的热图",
    "blocks.grid": "每个块的注意力与热图",
    "blocks.attention": "注意力",
    "blocks.none": "此处没有注意力",
    "blocks.channels": "衡量通道，而非位置",
    "blocks.unknown": "此处没有热图",
    "blocks.alt": "{block}的 {name}",
    "blocks.slow": "{method} 要多次运行网络。这个网络太大，因此在此略去。",
    "blocks.download": "下载 PNG",
}

"""What the named API refuses."""

EN = {
    "api.picture": "A picture is needed.",
    "api.format": "No format '{given}': choose from {known}.",
    "api.queries": "No self-attention at {stage} with attention '{attention}'.",
    "api.whole": "Row, column and head must be whole numbers.",
    "api.texts": "Weights, attention, stages, methods and target must be texts.",
    "api.map": "No map of {method} at {stage} with attention '{attention}'.",
    "api.maps": "That is too much at once: stages × methods may be {most} maps at most.",
    "api.one": "One stage of {stages} and one method are needed.",
    "api.passes": "{method} would run '{weights}' thousands of times: use tiny50, or the "
    "command line on a computer of your own.",
}

ZH = {
    "api.picture": "需要一张图片。",
    "api.format": "没有格式 {given}：可选 {known}。",
    "api.queries": "注意力 {attention} 在 {stage} 处没有自注意力。",
    "api.whole": "行、列和头必须是整数。",
    "api.texts": "网络、注意力、位置、方法和目标必须是文本。",
    "api.map": "注意力 {attention} 在 {stage} 处没有 {method} 图。",
    "api.maps": "一次要求太多：位置数 × 方法数最多为 {most} 张图。",
    "api.one": "需要 {stages} 中的一个位置和一种方法。",
    "api.passes": "{method} 要把 {weights} 运行几千次：请使用 tiny50，或在自己的电脑上用命令行。",
}

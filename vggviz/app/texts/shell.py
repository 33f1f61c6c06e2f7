"""The frame of the page: its head, the left column, the tab bar."""

EN = {
    "shell.title": "What does VGG19 look at?",
    "shell.line": "Its learned attention beside Grad-CAM, on a picture of yours.",
    "shell.language": "Language",
    "shell.picture": "Picture",
    "shell.examples": "Examples",
    "shell.example": "Example: {caption}",
    "shell.network": "Network",
    "shell.own": "Open your own weights (.safetensors)",
    "shell.attention": "Attention",
    "shell.target": "Grad-CAM for the class",
    "shell.contrast": "In contrast to",
    "shell.likeliest": "The likeliest",
    "shell.nothing": "Nothing",
}

ZH = {
    "shell.title": "VGG19 在看哪里？",
    "shell.line": "用你自己的图片，把网络学到的注意力与 Grad-CAM 放在一起看。",
    "shell.language": "语言",
    "shell.picture": "图片",
    "shell.examples": "示例",
    "shell.example": "示例：{caption}",
    "shell.network": "网络",
    "shell.own": "打开自己的权重（.safetensors）",
    "shell.attention": "注意力",
    "shell.target": "Grad-CAM 针对的类别",
    "shell.contrast": "对比类别",
    "shell.likeliest": "网络给出的类别",
    "shell.nothing": "无",
}

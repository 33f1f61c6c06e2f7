"""The menu of what people take home, and links."""

EN = {
    "take.name": "Take home",
    "take.png": "Figure as a picture",
    "take.svg": "Figure as a drawing",
    "take.npz": "Raw maps",
    "take.json": "Everything in numbers",
    "take.html": "One-page report",
    "take.link": "Copy a link to this",
    "take.copied": "The link is copied.",
    "take.nothing": "There is nothing to take yet: choose a picture first.",
    "take.no_link": "A link can't carry your own picture or network: choose an example and a "
    "bundled network, or take the report.",
    "take.no_format": "There is no such file.",
    "take.too_large": "This file has {size} MB, and a page can send {most}: get it with 'vggviz "
    "explain' on your own computer.",
    "take.ignored": "Parts of this link were ignored, since there is no such: {listed}.",
}

ZH = {
    "take.name": "带走结果",
    "take.png": "图像（位图）",
    "take.svg": "图像（矢量图）",
    "take.npz": "原始数组",
    "take.json": "全部数值",
    "take.html": "单页报告",
    "take.link": "复制当前状态的链接",
    "take.copied": "链接已复制。",
    "take.nothing": "还没有可以保存的结果：请先选择一张图片。",
    "take.no_link": "链接无法包含你自己的图片或网络：请选择示例图片和自带的网络，或者下载报告。",
    "take.no_format": "没有这种文件。",
    "take.too_large": "这个文件有 {size} MB，网页最多只能发送 {most} MB：请在自己的电脑上用 "
    "vggviz explain 生成。",
    "take.ignored": "链接中的下列内容不存在，已被忽略：{listed}。",
}

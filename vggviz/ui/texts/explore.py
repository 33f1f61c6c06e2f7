"""The first tab: answer, strip, maps, channels."""

EN = {
    "explore.name": "Explore",
    "explore.site": "Where in the network",
    "explore.block": "Block {number}",
    "explore.opacity": "Opacity of the maps",
}

ZH = {
    "explore.name": "探索",
    "explore.site": "网络中的位置",
    "explore.block": "第 {number} 块",
    "explore.opacity": "热图不透明度",
}

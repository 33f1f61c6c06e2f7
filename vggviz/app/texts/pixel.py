"""The tab 'Ask a pixel'."""

EN = {
    "pixel.name": "Ask a pixel",
    "pixel.line": "In self-attention every place gathers "
    "from all others. Click a place, or move it "
    "with the arrow keys, and see where it looks.",
    "pixel.stage": "Where in the network",
    "pixel.ask": "Ask here",
    "pixel.canvas": "The picture as {rows} × {columns} places. "
    "The arrow keys move the place that is "
    "asked.",
    "pixel.average": "Where it looks",
    "pixel.average_how": "average of {heads} heads",
    "pixel.head": "Head {number}",
    "pixel.alt": "Where the place in row {row}, column {column} looks: {name}",
    "pixel.place": "row {row}, column {column}",
    "pixel.reading": "The place in row {row}, column {column} looks most at row {to_row}, column "
    "{to_column} ({most}), and at itself with {self}. Half of its attention rests on {half} of "
    "{all} places.",
    "pixel.spread": "It hardly prefers any place: evenly spread, each would have {even}.",
    "pixel.focus": "Evenly spread, each place would have {even}.",
    "pixel.other": "This attention has no queries, so no place can be asked.",
    "pixel.other_hint": "Only in self-attention does each place look for itself.",
    "pixel.no_place": "There is no such place.",
    "pixel.choose": "Choose self-attention",
    "pixel.none": "This network has no self-attention.",
    "pixel.none_hint": "Choose the network tiny50 on the left: it has.",
}

ZH = {
    "pixel.name": "询问像素",
    "pixel.line": "在自注意力中，每个位置都从所有其他位置收集信息。"
    "点击一个位置，或用方向键移动，看看它在看哪里。",
    "pixel.stage": "网络中的位置",
    "pixel.ask": "在此询问",
    "pixel.canvas": "图片分为 {rows} × {columns} 个位置。用方向键移动所询问的位置。",
    "pixel.average": "它看向哪里",
    "pixel.average_how": "{heads} 个头的平均",
    "pixel.head": "第 {number} 个头",
    "pixel.alt": "第 {row} 行第 {column} 列的位置看向哪里：{name}",
    "pixel.place": "第 {row} 行第 {column} 列",
    "pixel.reading": "第 {row} 行第 {column} 列的位置最关注第 "
    "{to_row} 行第 {to_column} 列（{most}），"
    "对自身的关注为 {self}。它一半的注意力集中在 {all} 个位置中的 {half} 个上。",
    "pixel.spread": "它几乎不偏向任何位置：若均匀分布，每个位置为 {even}。",
    "pixel.focus": "若均匀分布，每个位置为 {even}。",
    "pixel.other": "这种注意力没有查询，因此无法询问某个位置。",
    "pixel.other_hint": "只有在自注意力中，每个位置才会各自选择看向哪里。",
    "pixel.no_place": "没有这个位置。",
    "pixel.choose": "选择自注意力",
    "pixel.none": "这个网络没有自注意力。",
    "pixel.none_hint": "请在左侧选择 tiny50 网络，它有自注意力。",
}

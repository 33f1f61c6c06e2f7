"""The tab 'All types'."""

EN = {
    "types.name": "All types",
    "types.line": "The same picture through every type of attention: what each says, where it "
    "looks, whether it agrees with Grad-CAM, and what it was measured to be worth.",
    "types.start": "Go through all types",
    "types.stop": "Stop",
    "types.table": "Every type of attention on this picture",
    "types.type": "Type",
    "types.says": "Says",
    "types.attention": "Attention",
    "types.gradcam": "Grad-CAM",
    "types.agreement": "Agreement",
    "types.top1": "Right, %",
    "types.against": "Against none, points",
    "types.parameters": "Parameters added",
    "types.latency": "Time",
    "types.channels": "channels only",
    "types.none": "none",
    "types.alt": "{map} of {type} at {block}",
    "types.rho": "rank correlation; 1 is the same order of places, 0 is chance",
    "types.times": "× none",
    "types.same": "All {count} say {label}.",
    "types.differ": "They do not agree: {labels}.",
    "types.progress": "{done} of {total} types",
    "types.only": "These weights have one type of attention. tiny50, on the left, has all.",
    "types.source": "Right, and points against none, were measured on the 1,224 validation "
    "pictures of tiny50; time is a forward pass.",
}

ZH = {
    "types.name": "所有类型",
    "types.line": "同一张图片经过每种注意力：各自的预测、看向哪里、是否与 "
    "Grad-CAM 一致，以及测得的价值。",
    "types.start": "逐一运行所有类型",
    "types.stop": "停止",
    "types.table": "每种注意力在这张图片上的表现",
    "types.type": "类型",
    "types.says": "预测",
    "types.attention": "注意力",
    "types.gradcam": "Grad-CAM",
    "types.agreement": "一致性",
    "types.top1": "正确率 %",
    "types.against": "相比无注意力（百分点）",
    "types.parameters": "增加的参数",
    "types.latency": "耗时",
    "types.channels": "仅通道",
    "types.none": "无",
    "types.alt": "{type} 在{block}的{map}",
    "types.rho": "秩相关；1 表示位置次序相同，0 表示偶然",
    "types.times": "× 无注意力",
    "types.same": "{count} 种都预测为 {label}。",
    "types.differ": "它们的预测不一致：{labels}。",
    "types.progress": "已完成 {done} / {total} 种",
    "types.only": "这些权重只有一种注意力。左侧的 tiny50 包含所有类型。",
    "types.source": "正确率及与无注意力之差在 tiny50 的 "
    "1,224 张验证图片上测得；耗时为一次前向计算。",
}

"""The tab 'How faithful'."""

EN = {
    "faithful.name": "How faithful",
    "faithful.line": "Take away the pixels that a map calls important, or give them back to a "
    "blurred picture, and watch how sure the network stays. A faithful map makes deletion fall "
    "fast and insertion rise fast; a random map is the yardstick.",
    "faithful.start": "Measure",
    "faithful.stop": "Stop",
    "faithful.deletion": "Deletion",
    "faithful.insertion": "Insertion",
    "faithful.deletion_how": "most important pixels away first",
    "faithful.insertion_how": "most important pixels back first",
    "faithful.attention": "Attention",
    "faithful.gradcam": "Grad-CAM",
    "faithful.random": "Random",
    "faithful.x": "share of the pixels",
    "faithful.chart": "{kind}: probability of {label} by the share of pixels. {areas}",
    "faithful.progress": "{done} of {total} pictures",
    "faithful.area": "Area under the curve",
    "faithful.better_low": "lower is better",
    "faithful.better_high": "higher is better",
    "faithful.class": "Probability of {label}, at {block}.",
    "faithful.ready": "Press Measure: the network looks at {total} altered pictures.",
    "faithful.no_map": "This attention is no map over places: only Grad-CAM is measured.",
    "faithful.wins": "{name} beats the random map in both: it points at pixels that the network "
    "needs and that suffice.",
    "faithful.half": "{name} beats the random map in one of the two only.",
    "faithful.loses": "{name} does no better than the random map here: what it calls important, "
    "the network does not need.",
    "faithful.one": "One picture proves little: compare several.",
}

ZH = {
    "faithful.name": "是否忠实",
    "faithful.line": "按热图的重要程度依次去掉像素，或把像素还给模糊的图片，看看网络还有多大把握。"
    "忠实的热图会使删除曲线迅速下降、插入曲线迅速上升；随机图是衡量的标尺。",
    "faithful.start": "开始测量",
    "faithful.stop": "停止",
    "faithful.deletion": "删除",
    "faithful.insertion": "插入",
    "faithful.deletion_how": "先去掉最重要的像素",
    "faithful.insertion_how": "先还回最重要的像素",
    "faithful.attention": "注意力",
    "faithful.gradcam": "Grad-CAM",
    "faithful.random": "随机",
    "faithful.x": "像素比例",
    "faithful.chart": "{kind}：{label} 的概率随像素比例的变化。{areas}",
    "faithful.progress": "已看 {done} / {total} 张图片",
    "faithful.area": "曲线下面积",
    "faithful.better_low": "越低越好",
    "faithful.better_high": "越高越好",
    "faithful.class": "{label} 的概率，位于{block}。",
    "faithful.ready": "点击“开始测量”：网络将看 {total} 张改动过的图片。",
    "faithful.no_map": "这种注意力不是关于位置的图：只测量 Grad-CAM。",
    "faithful.wins": "{name} 在两项中都胜过随机图：它指出的像素既是网络需要的，也是足够的。",
    "faithful.half": "{name} 只在其中一项胜过随机图。",
    "faithful.loses": "{name} 在此并不比随机图好：它所谓重要的像素，网络并不需要。",
    "faithful.one": "一张图片说明不了太多：请比较多张。",
}

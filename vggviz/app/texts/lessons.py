"""The tab 'Lessons': each lesson's title, text, what the letters mean, a question, its answer."""

EN = {
    "lessons.name": "Lessons",
    "lessons.line": "Six steps, in order. Each sets the page to the picture, the network and the "
    "tab that it speaks of.",
    "lessons.question": "A question",
    "lessons.answer": "Show the answer",
    "lessons.formula": "Formula",
    "lessons.measured": "Measured on the bundled networks and {pictures} pictures that they had "
    "not seen: {name} is right in {top1}% of cases, the network without attention in {none}%.",
    "lessons.use": "With each picture's weights replaced by their mean, {name} loses {lost} "
    "points (95% interval {low} to {high}).",
    "lessons.pointing": "On {count} pictures whose object lies off the centre, the brightest spot "
    "of the attention falls on the object in {attention}% of cases, that of Grad-CAM in "
    "{gradcam}%, and a random spot in {chance}%.",
    "lessons.sees.title": "What a VGG sees",
    "lessons.sees.text": "VGG19 is a chain of sixteen 3×3 convolutions in five blocks, with three "
    "linear layers at its end in the original, and fewer in the small network here. Each "
    "convolution looks for small patterns in what the one before has found, and everything below "
    "zero is cut off. After each block the picture is halved, so that the same 3×3 window covers "
    "more and more of it: a place of block 1 has seen 5×5 pixels, one of block 3 has seen 48×48, "
    "one of block 5 has seen 252×252.\nSo edges and colours come first, textures and parts later, "
    "and objects last; and the better the network knows what it sees, the less exactly it knows "
    "where.",
    "lessons.sees.letters": "x: what comes in, a map a channel. w, b: learned. ∗: convolution. z: "
    "the scores of the classes, p: their probabilities.",
    "lessons.sees.question": "At block 1 Grad-CAM draws the outlines, at block 5 one large blob. "
    "Does the network look at something else in block 5?",
    "lessons.sees.answer": "It is the same picture at two stages. In block 1 a place knows 5×5 "
    "pixels, so that only edges and colours can speak for a class, and there are many places. In "
    "block 5 of the small network there are 5×5 places, each of which has seen the whole crop of "
    "80×80 pixels. A map of 5×5 cells enlarged to the picture can't have fine outlines.",
    "lessons.sees.go": "Show all five blocks without attention",
    "lessons.channel.title": "Channel attention",
    "lessons.channel.text": "Every channel is a detector: fur, stripes, sky. "
    "Squeeze-and-excitation takes each channel's mean over the whole picture, lets a small "
    "network look at all of them, and gives each channel one weight between 0 and 1. Channels "
    "that don't matter for this picture can be turned down.\nThe weights differ from picture to "
    "picture: that is what makes them attention and not just another layer.",
    "lessons.channel.letters": "x: channel c at place n of N. z: the means. W₁, W₂: learned. σ: "
    "the sigmoid, to between 0 and 1. s: the weights.",
    "lessons.channel.question": "You may meet heat maps in the literature that are called "
    "‘spatial SE maps’. What is wrong with that name?",
    "lessons.channel.answer": "Squeeze-and-excitation multiplies a whole channel by one number, "
    "the same at every place. There is nothing to lay over the picture; the chart of the sorted "
    "weights is all there is. A map can be drawn of the features that it weighs, but it shows "
    "these features.",
    "lessons.channel.go": "Show the channel weights",
    "lessons.spatial.title": "Spatial attention",
    "lessons.spatial.text": "The other way round: one weight for each place, the same for all its "
    "channels. CBAM's spatial attention takes the mean and the largest value over the channels at "
    "each place, two maps, and a single 7×7 convolution makes of them one map between 0 and 1.\n"
    "Now there is something to lay over the picture. But a colour map makes every range look "
    "dramatic: the smallest value is black and the largest is bright, whether they are 0.02 and "
    "0.99 or 0.52 and 0.61.",
    "lessons.spatial.letters": "x: channel c at place n. w: the learned 7×7 filters. norm: batch "
    "normalisation. σ: the sigmoid. m: the weights.",
    "lessons.spatial.question": "What must you look at before you say ‘the network looks here’? "
    "Compare blocks 4 and 5.",
    "lessons.spatial.answer": "At the numbers beside the colour bar. If all weights are nearly "
    "the same, the network treats all places nearly alike, however bright the picture is. And a "
    "place with a large weight is passed on; that the answer depends on it has not been shown yet.",
    "lessons.spatial.go": "Show spatial attention",
    "lessons.self.title": "Self-attention",
    "lessons.self.text": "In a Transformer every place asks all others. A place's question q is "
    "compared with every place's key k; the softmax turns the likenesses into shares that sum to "
    "1; with these shares the values v are averaged and added to the place's own features. So "
    "even the first place can know about the last one in a single step, which convolutions need "
    "many layers for.\nThere is not one map but one for each place that asks, and for each head. "
    "Click on the picture and see where this place looks.",
    "lessons.self.letters": "q, k, v: learned linear functions of the features. d: the length of "
    "q. A: a row for each place that asks, which sums to 1. Wₒ: learned.",
    "lessons.self.question": "At block 4 the small network has 10×10 places and 4 heads. How many "
    "attention weights is that, and how many would it be for 112×112 places?",
    "lessons.self.answer": "4 × 100 × 100 = 40,000. For 112×112 = 12,544 places it would be 4 × "
    "12,544² ≈ 629 million, 2.5 GB. So here the keys are averaged to a grid of 14×14 at most, "
    "where there are more: the cost grows with the number of places and not with its square.",
    "lessons.self.go": "Ask a pixel",
    "lessons.gradcam.title": "Attention against Grad-CAM",
    "lessons.gradcam.text": "Grad-CAM needs no attention. After the network has answered, it "
    "asks: if this channel were a little stronger, how much would the score of this class rise? "
    "The channels are summed with these slopes as weights, and what is below zero is cut off.\nSo "
    "there are two different questions. Attention is what the network did, for no class in "
    "particular. Grad-CAM is what speaks for one class that you choose. Here are two photographs, "
    "one above the other: espresso, and oranges.",
    "lessons.gradcam.letters": "z: the score of class k. x: channel c at place n of N. w: each "
    "channel's mean slope. L: the map.",
    "lessons.gradcam.question": "Ask first for espresso, then for orange. Which of the two maps "
    "changes, which stays, and why?",
    "lessons.gradcam.answer": "Grad-CAM changes: another class has other slopes. The attention "
    "stays to the last digit, for it was computed on the way to the scores and knows no class. So "
    "it can't tell why the answer was ‘espresso’ and not ‘orange’.",
    "lessons.gradcam.go": "Grad-CAM for espresso",
    "lessons.gradcam.go2": "Grad-CAM for orange",
    "lessons.meaning.title": "Does attention mean explanation?",
    "lessons.meaning.text": "A map that lies on the object looks like a reason. Jain and Wallace "
    "(2019, ‘Attention is not Explanation’) found very different attention weights that give the "
    "same answer; Wiegreffe and Pinter (2019, ‘Attention is not not Explanation’) answered that "
    "it depends on what one calls an explanation, and how one tests it. So test it.\nFirst, take "
    "the learned weights away: put their mean in their place, shuffle them, turn them round. If "
    "the answer stays, the network did not need them. Second, take the places away: delete the "
    "pixels from the brightest down, and watch the probability fall. A map that is worth its name "
    "makes it fall faster than a random one does.",
    "lessons.meaning.letters": "f: the attention, γ: the learned share of it that is blended in. "
    "p: the probability of class k with the share t of the pixels deleted. AUC: the area under "
    "this curve, small for a faithful map.",
    "lessons.meaning.question": "You shuffle the weights and the answer stays the same, but "
    "deleting the bright places makes the probability fall fast. What do you conclude?",
    "lessons.meaning.answer": "The bright places matter to the network, but not because of the "
    "attention: without its weights it would find them too. The map is right about where, and "
    "explains nothing about why. And one picture is an anecdote: what holds on many is measured.",
    "lessons.meaning.go": "What if there were other weights",
    "lessons.meaning.go2": "How faithful are the maps",
}

ZH = {
    "lessons.name": "课程",
    "lessons.line": "共六步，请按顺序进行。每一步都会把页面设置到所讲的图片、网络和标签页。",
    "lessons.question": "思考题",
    "lessons.answer": "查看答案",
    "lessons.formula": "公式",
    "lessons.measured": "在自带网络和 {pictures} 张未见过的图片上实测：{name} 的正确率为 {top1}%，"
    "没有注意力的网络为 {none}%。",
    "lessons.use": "把每张图片的权重换成其均值后，{name} 的正确率下降 {lost} 个百分点（95% 置信区"
    "间 {low} 到 {high}）。",
    "lessons.pointing": "在物体偏离中心的 {count} 张图片上，注意力的最亮点落在物体上的比例为 "
    "{attention}%，Grad-CAM 为 {gradcam}%，随机选点为 {chance}%。",
    "lessons.sees.title": "VGG 看到了什么",
    "lessons.sees.text": "VGG19 由十六个 3×3 卷积串联而成，分为五块；原版网络末端有三个全连接层，"
    "这里的小网络则更少。每个卷积都在前一层的结果中寻找小的模式，小于零的值一律置为零。每一块之后"
    "图像尺寸减半，于是同样的 3×3 窗口覆盖的范围越来越大：第 1 块的一个位置看到 5×5 像素，第 3 块"
    "看到 48×48 像素，第 5 块看到 252×252 像素。\n因此网络先看到边缘和颜色，然后是纹理和部件，最后"
    "才是物体；它越清楚看到的是什么，就越不清楚它究竟在哪里。",
    "lessons.sees.letters": "x：输入，每个通道一张图。w、b：学习得到。∗：卷积。z：各类别的得分，"
    "p：各类别的概率。",
    "lessons.sees.question": "在第 1 块，Grad-CAM 勾勒出轮廓；在第 5 块，只有一大团亮斑。网络在第 "
    "5 块看的是别的东西吗？",
    "lessons.sees.answer": "看的是同一张图片，只是处于两个阶段。第 1 块的每个位置只了解 5×5 像素，"
    "能支持某个类别的只有边缘和颜色，而这样的位置有很多。在小网络的第 5 块，只有 5×5 个位置，每个"
    "位置都看到了整个 80×80 像素的裁剪图。把 5×5 的图放大到整张图片，不可能有精细的轮廓。",
    "lessons.sees.go": "显示没有注意力的全部五块",
    "lessons.channel.title": "通道注意力",
    "lessons.channel.text": "每个通道都是一个检测器：毛发、条纹、天空。SE（压缩与激励）取每个通道"
    "在整张图片上的均值，让一个小网络同时查看所有均值，再给每个通道一个 0 到 1 之间的权重。对这张"
    "图片不重要的通道可以被调低。\n权重随图片而变：正因如此它才是注意力，而不只是又一个普通的层。",
    "lessons.channel.letters": "x：通道 c 在位置 n 上的特征，共 N 个位置。z：均值。W₁、W₂：学习得"
    "到。σ：sigmoid 函数，取值在 0 到 1 之间。s：权重。",
    "lessons.channel.question": "文献中有时会见到名为“空间 SE 图”的热图。这个名称错在哪里？",
    "lessons.channel.answer": "SE 把整个通道乘以同一个数，在每个位置都相同，因此没有可以叠加在图片"
    "上的东西；排序后的权重图表就是它的全部。当然可以画出被加权的特征，但那展示的是特征本身。",
    "lessons.channel.go": "显示通道权重",
    "lessons.spatial.title": "空间注意力",
    "lessons.spatial.text": "反过来：每个位置一个权重，对该位置的所有通道都相同。CBAM 的空间注意力"
    "在每个位置对所有通道取均值和最大值，得到两张图，再用一个 7×7 卷积把它们变成一张取值在 0 到 1 "
    "之间的图。\n现在有东西可以叠加在图片上了。但颜色会让任何取值范围都显得悬殊：最小值总是黑色，"
    "最大值总是亮色，不管它们是 0.02 和 0.99，还是 0.52 和 0.61。",
    "lessons.spatial.letters": "x：通道 c 在位置 n 上的特征。w：学习得到的 7×7 卷积核。norm：批归"
    "一化。σ：sigmoid 函数。m：权重。",
    "lessons.spatial.question": "在说“网络在看这里”之前，必须先看什么？请比较第 4 块和第 5 块。",
    "lessons.spatial.answer": "看色条旁边的数值。如果所有权重几乎相同，那么无论图有多亮，网络对所"
    "有位置几乎一视同仁。权重大的位置只是被传递下去了；答案是否依赖于它，还没有得到证明。",
    "lessons.spatial.go": "显示空间注意力",
    "lessons.self.title": "自注意力",
    "lessons.self.text": "在 Transformer 中，每个位置都会询问所有其他位置。一个位置的查询 q 与每个"
    "位置的键 k 相比较，softmax 把相似度变成总和为 1 的份额，再按这些份额对值 v 求平均，加到该位置"
    "自己的特征上。这样，第一个位置只需一步就能了解最后一个位置，而卷积需要许多层才能做到。\n因此"
    "不是只有一张图，而是每个提问的位置、每个头都有一张。请在图片上点击，看看这个位置在看哪里。",
    "lessons.self.letters": "q、k、v：特征的线性函数，学习得到。d：q 的长度。A：每个提问的位置对应"
    "一行，每行之和为 1。Wₒ：学习得到。",
    "lessons.self.question": "在第 4 块，小网络有 10×10 个位置和 4 个头。一共有多少个注意力权重？"
    "如果有 112×112 个位置，又会有多少？",
    "lessons.self.answer": "4 × 100 × 100 = 40 000 个。对于 112×112 = 12 544 个位置，将是 4 × 12 "
    "544² ≈ 6.29 亿个，占 2.5 GB。所以当位置更多时，这里把键平均到最多 14×14 的网格上：开销随位置"
    "数增长，而不是随其平方增长。",
    "lessons.self.go": "询问像素",
    "lessons.gradcam.title": "注意力与 Grad-CAM",
    "lessons.gradcam.text": "Grad-CAM 不需要注意力。它在网络作答之后提问：如果这个通道再强一点，这"
    "个类别的得分会上升多少？以这些斜率为权重对各通道求和，再把小于零的值置为零。\n所以这是两个不"
    "同的问题：注意力是网络做了什么，不针对任何类别；Grad-CAM 是什么支持你所选的那一个类别。这里有"
    "上下两张照片：浓缩咖啡和橙子。",
    "lessons.gradcam.letters": "z：类别 k 的得分。x：通道 c 在位置 n 上的特征，共 N 个位置。w：每"
    "个通道的平均斜率。L：得到的图。",
    "lessons.gradcam.question": "先选 espresso（浓缩咖啡），再选 orange（橙子）。两张图中哪一张变"
    "了，哪一张没变？为什么？",
    "lessons.gradcam.answer": "Grad-CAM 变了：换一个类别，斜率就不同。注意力连最后一位小数都没有"
    "变，因为它是在计算得分的途中得出的，与类别无关。所以它无法说明答案为什么是 espresso 而不是 "
    "orange。",
    "lessons.gradcam.go": "针对 espresso 的 Grad-CAM",
    "lessons.gradcam.go2": "针对 orange 的 Grad-CAM",
    "lessons.meaning.title": "注意力就是解释吗？",
    "lessons.meaning.text": "落在物体上的图看起来像是理由。Jain 和 Wallace（2019）发现，截然不同的"
    "注意力权重可以给出相同的答案；Wiegreffe 和 Pinter（2019）则回应说，这取决于什么叫作解释，以及"
    "如何检验。那就来检验。\n第一，拿走学到的权重：换成均值、打乱、反转。如果答案不变，网络就并不"
    "需要这些权重。第二，拿走那些位置：从最亮处开始删除像素，观察概率如何下降。名副其实的图，应当"
    "比随机图使概率下降得更快。",
    "lessons.meaning.letters": "f：注意力；γ：学习得到的混入比例。p：删除比例为 t 的像素后类别 k "
    "的概率。AUC：这条曲线下的面积，越小说明图越忠实。",
    "lessons.meaning.question": "打乱权重后答案不变，但删除明亮的位置会使概率迅速下降。你能得出什"
    "么结论？",
    "lessons.meaning.answer": "明亮的位置对网络很重要，但原因不在注意力：没有这些权重，网络同样能"
    "找到它们。这张图说对了在哪里，却没有说明为什么。而且一张图片只是个例，在许多图片上成立的结论"
    "要靠测量。",
    "lessons.meaning.go": "假如权重不同",
    "lessons.meaning.go2": "这些图是否忠实",
}

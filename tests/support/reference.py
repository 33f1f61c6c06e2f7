"""Slow twins of every attention module and CAM formula, written from the papers.

Plain loops over Python floats (64 bits); nothing of vggviz is called here. `ATTENTION_TWINS` and
`FORMULA_TWINS` carry the keys of `vggviz.attention.ATTENTION` and `vggviz.cam.METHODS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

State = Mapping[str, Tensor]
Image = list[list[list[float]]]  # [channel][row][column]
Shown = dict[str, Any]  # nested lists by the tap's path in its module
Twin = Callable[[State, Tensor], tuple[Tensor, dict[str, Tensor]]]


# Building blocks ---------------------------------------------------------------------------


def sigmoid(s: float) -> float:
    return 1 / (1 + math.exp(-s)) if s >= 0 else math.exp(s) / (1 + math.exp(s))


def relu(s: float) -> float:
    return s if s > 0 else 0.0


def softmax(scores: list[float]) -> list[float]:
    highest = max(scores)
    powers = [math.exp(s - highest) for s in scores]
    total = sum(powers)
    return [power / total for power in powers]


def linear(state: State, name: str, x: list[float]) -> list[float]:
    """W x + b; a 1×1 convolution is one too."""
    weight = state[f"{name}.weight"].flatten(1).tolist()
    bias = state[f"{name}.bias"].tolist()
    return [
        b + sum(w * v for w, v in zip(row, x, strict=True))
        for row, b in zip(weight, bias, strict=True)
    ]


def layer_norm(state: State, name: str, x: list[float]) -> list[float]:
    """Ba, Kiros, Hinton 2016, eq. 4, with PyTorch's ε = 1e-5 inside the root."""
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + 1e-5)
    weight, bias = state[f"{name}.weight"].tolist(), state[f"{name}.bias"].tolist()
    return [(v - mean) / deviation * w + b for v, w, b in zip(x, weight, bias, strict=True)]


def size(x: Image) -> tuple[int, int, int]:
    return len(x), len(x[0]), len(x[0][0])


def at(x: Image, i: int, j: int) -> list[float]:
    """The channel vector of one position."""
    return [plane[i][j] for plane in x]


def pixels(plane: list[list[float]]) -> list[float]:
    return [value for row in plane for value in row]


def build(x: Image, value: Callable[[int, int, int], float]) -> Image:
    """An image of x's size from a function of channel, row and column."""
    channels, height, width = size(x)
    return [
        [[value(c, i, j) for j in range(width)] for i in range(height)] for c in range(channels)
    ]


# Attention ---------------------------------------------------------------------------------


def gate(state: State, x: Image) -> tuple[Image, Shown]:
    """a = σ(W₂ relu(W₁ x + b₁) + b₂) on the channel vector of each position; y = a x."""
    _, height, width = size(x)
    gates = [
        [
            linear(state, "out", [relu(s) for s in linear(state, "hidden", at(x, i, j))])
            for j in range(width)
        ]
        for i in range(height)
    ]
    a = build(x, lambda c, i, j: sigmoid(gates[i][j][c]))
    return build(x, lambda c, i, j: a[c][i][j] * x[c][i][j]), {"weights": a}


def se(state: State, x: Image) -> tuple[Image, Shown]:
    """Hu 2018, eq. 2 (squeeze), 3 (excite), 4 (scale)."""
    z = [sum(pixels(plane)) / len(pixels(plane)) for plane in x]
    hidden = [relu(s) for s in linear(state, "squeeze", z)]
    s = [sigmoid(value) for value in linear(state, "excite", hidden)]
    return build(x, lambda c, i, j: s[c] * x[c][i][j]), {"channel": s}


def eca(state: State, x: Image) -> tuple[Image, Shown]:
    """Wang 2020: channel i looks at its k neighbours; past the ends there is 0."""
    z = [sum(pixels(plane)) / len(pixels(plane)) for plane in x]
    kernel = state["conv.weight"].flatten().tolist()
    s = [
        sigmoid(
            sum(
                w * z[c + offset]
                for offset, w in enumerate(kernel, -(len(kernel) // 2))
                if 0 <= c + offset < len(z)
            )
        )
        for c in range(len(z))
    ]
    return build(x, lambda c, i, j: s[c] * x[c][i][j]), {"channel": s}


def spatial(state: State, x: Image) -> tuple[Image, Shown]:
    """Woo 2018 and its authors' code: a 7×7 convolution over the channels' mean and maximum,
    zeros outside, then a norm by the statistics that were seen."""
    channels, height, width = size(x)
    mean = [[sum(at(x, i, j)) / channels for j in range(width)] for i in range(height)]
    peak = [[max(at(x, i, j)) for j in range(width)] for i in range(height)]
    kernel = state["conv.weight"][0].tolist()  # [mean or peak][row][column]
    reach = len(kernel[0]) // 2
    norm = {name: float(state[f"norm.{name}"]) for name in ("weight", "bias")}
    seen = {name: float(state[f"norm.running_{name}"]) for name in ("mean", "var")}

    def score(i: int, j: int) -> float:
        found = sum(
            kernel[source][di][dj] * plane[i + di - reach][j + dj - reach]
            for source, plane in enumerate((mean, peak))
            for di in range(len(kernel[0]))
            for dj in range(len(kernel[0]))
            if 0 <= i + di - reach < height and 0 <= j + dj - reach < width
        )
        standardised = (found - seen["mean"]) / math.sqrt(seen["var"] + 1e-5)
        return norm["weight"] * standardised + norm["bias"]

    m = [[sigmoid(score(i, j)) for j in range(width)] for i in range(height)]
    return build(x, lambda c, i, j: m[i][j] * x[c][i][j]), {"spatial": m}


def cbam(state: State, x: Image) -> tuple[Image, Shown]:
    """Woo 2018: channel attention from means and maxima by one shared network, then spatial."""

    def mlp(z: list[float]) -> list[float]:
        hidden = [relu(s) for s in linear(state, "channel.mlp.0", z)]
        return linear(state, "channel.mlp.2", hidden)

    means = mlp([sum(pixels(plane)) / len(pixels(plane)) for plane in x])
    peaks = mlp([max(pixels(plane)) for plane in x])
    s = [sigmoid(mean + peak) for mean, peak in zip(means, peaks, strict=True)]
    refined = build(x, lambda c, i, j: s[c] * x[c][i][j])
    own = {name.removeprefix("spatial."): p for name, p in state.items() if "spatial" in name}
    y, shown = spatial(own, refined)
    return y, {"channel.channel": s, "spatial.spatial": shown["spatial"]}


def self_attention(state: State, x: Image) -> tuple[Image, Shown]:
    """Vaswani 2017, eq. 1 and section 3.2.2, 4 heads; keys and values on at most 14×14 cells."""
    heads, (channels, height, width) = 4, size(x)
    depth = channels // heads
    rows, columns = min(height, 14), min(width, 14)
    own = [at(x, i, j) for i in range(height) for j in range(width)]
    cells = [
        [cell_mean(plane, i, rows, j, columns) for plane in x]
        for i in range(rows)
        for j in range(columns)
    ]
    queries = [linear(state, "query", layer_norm(state, "norm", token)) for token in own]
    pairs = [linear(state, "key_value", layer_norm(state, "norm", cell)) for cell in cells]
    keys, values = [p[:channels] for p in pairs], [p[channels:] for p in pairs]
    weights: list[list[list[float]]] = []  # [head][query][key]
    mixed = [[0.0] * channels for _ in own]
    for head in range(heads):
        part = range(head * depth, (head + 1) * depth)
        rows_of_head = [
            softmax([sum(q[d] * k[d] for d in part) / math.sqrt(depth) for k in keys])
            for q in queries
        ]
        for n, row in enumerate(rows_of_head):
            for d in part:
                mixed[n][d] = sum(a * v[d] for a, v in zip(row, values, strict=True))
        weights.append(rows_of_head)
    added = [linear(state, "out", token) for token in mixed]
    return build(x, lambda c, i, j: x[c][i][j] + added[i * width + j][c]), {"token": weights}


def cell_mean(plane: list[list[float]], i: int, rows: int, j: int, columns: int) -> float:
    """The mean of cell (i, j) where a plane is cut into rows × columns cells, that overlap where
    they don't divide it: from ⌊iH/rows⌋ to ⌈(i+1)H/rows⌉."""
    height, width = len(plane), len(plane[0])
    inside = [
        plane[a][b]
        for a in range(i * height // rows, -(-(i + 1) * height // rows))
        for b in range(j * width // columns, -(-(j + 1) * width // columns))
    ]
    return sum(inside) / len(inside)


def softmax_pooling(state: State, x: Image) -> tuple[Image, Shown]:
    """Cao 2019, eq. 5: y_i = x_i + W_v2 relu(LN(W_v1 Σ_j a_j x_j)), a the softmax of W_k x."""
    channels, height, width = size(x)
    tokens = [at(x, i, j) for i in range(height) for j in range(width)]
    a = softmax([linear(state, "logit", token)[0] for token in tokens])
    context = [sum(w * t[c] for w, t in zip(a, tokens, strict=True)) for c in range(channels)]
    hidden = layer_norm(state, "transform.1", linear(state, "transform.0", context))
    added = linear(state, "transform.3", [relu(s) for s in hidden])
    return build(x, lambda c, i, j: x[c][i][j] + added[c]), {"pool": a}


def simam(state: State, x: Image) -> tuple[Image, Shown]:
    """Yang 2021: the least energy e* of each feature, and the gate σ(1/e*), λ = 1e-4."""

    def energy(c: int, i: int, j: int) -> float:
        values = pixels(x[c])
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)
        numerator = 4 * (variance + 1e-4)
        return numerator / ((x[c][i][j] - mean) ** 2 + 2 * variance + 2e-4)

    a = build(x, lambda c, i, j: sigmoid(1 / energy(c, i, j)))
    return build(x, lambda c, i, j: a[c][i][j] * x[c][i][j]), {"weights": a}


def batch_norm(state: State, name: str, c: int, value: float) -> float:
    """Ioffe, Szegedy 2015, by the statistics that were seen, ε = 1e-5: one value of channel c."""
    mean, variance, weight, bias = (
        float(state[f"{name}.{part}"][c])
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (value - mean) / math.sqrt(variance + 1e-5) * weight + bias


def convolve(state: State, name: str, x: Image, dilation: int = 1, groups: int = 1) -> Image:
    """A convolution that keeps the size, zeros outside."""
    kernels = state[f"{name}.weight"].tolist()  # [out][in of its group][row][column]
    bias = state[f"{name}.bias"].tolist() if f"{name}.bias" in state else [0.0] * len(kernels)
    _, height, width = size(x)
    inside, reach = len(kernels[0]), len(kernels[0][0]) // 2
    outside = len(kernels) // groups

    def value(o: int, i: int, j: int) -> float:
        total = bias[o]
        for k in range(inside):
            for di, row in enumerate(kernels[o][k]):
                for dj, w in enumerate(row):
                    a, b = i + (di - reach) * dilation, j + (dj - reach) * dilation
                    if 0 <= a < height and 0 <= b < width:
                        total += w * x[o // outside * inside + k][a][b]
        return total

    return [
        [[value(o, i, j) for j in range(width)] for i in range(height)] for o in range(len(kernels))
    ]


def coordinate(state: State, x: Image) -> tuple[Image, Shown]:
    """Hou 2021, eq. 4 to 9: rows and columns through one layer, a norm and h-swish, then apart."""
    _, height, width = size(x)

    def hidden(z: list[float]) -> list[float]:
        scores = [batch_norm(state, "norm", c, s) for c, s in enumerate(linear(state, "reduce", z))]
        return [s * min(max(s + 3, 0.0), 6.0) / 6 for s in scores]

    of_rows = [[sum(plane[i]) / width for plane in x] for i in range(height)]
    of_columns = [[sum(row[j] for row in plane) / height for plane in x] for j in range(width)]
    r = [[sigmoid(s) for s in linear(state, "row", hidden(z))] for z in of_rows]  # [row][channel]
    c = [[sigmoid(s) for s in linear(state, "column", hidden(z))] for z in of_columns]
    y = build(x, lambda k, i, j: x[k][i][j] * r[i][k] * c[j][k])
    return y, {"rows": list(zip(*r, strict=True)), "columns": list(zip(*c, strict=True))}


def triplet(state: State, x: Image) -> tuple[Image, Shown]:
    """Misra 2021, eq. 3: the mean of three gates, each from the maximum and the mean (eq. 2, the
    Z-pool) along the third axis."""
    _, height, width = size(x)

    def gate(name: str, lines: list[list[list[float]]]) -> list[list[float]]:
        """The gate of a plane whose lines along the third axis these are."""
        pooled = [[[f(line) for line in row] for row in lines] for f in (max, average)]
        (plane,) = convolve(state, f"{name}.conv", pooled)
        return [[sigmoid(batch_norm(state, f"{name}.norm", 0, s)) for s in row] for row in plane]

    m = gate("position", [[at(x, i, j) for j in range(width)] for i in range(height)])
    r = gate("row", [[plane[i] for i in range(height)] for plane in x])
    c = gate("column", [[[row[j] for row in plane] for j in range(width)] for plane in x])
    y = build(x, lambda k, i, j: (m[i][j] + r[k][i] + c[k][j]) / 3 * x[k][i][j])
    return y, {"spatial": m, "rows": r, "columns": c}


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def bam(state: State, x: Image) -> tuple[Image, Shown]:
    """Park 2018, eq. 1: F + F ⊗ M; eq. 2: M = σ(M_c + M_s); eq. 3 and 4, dilation 4."""
    z = [average(pixels(plane)) for plane in x]
    squeezed = [relu(s) for s in linear(state, "channel.0", z)]
    scores = linear(state, "channel.2", squeezed)
    s = [batch_norm(state, "channel.3", c, value) for c, value in enumerate(scores)]
    plane = x
    for layer, dilation in ((0, 1), (2, 4), (4, 4)):
        plane = convolve(state, f"spatial.{layer}", plane, dilation)
        plane = build(plane, lambda c, i, j, p=plane: relu(p[c][i][j]))
    (last,) = convolve(state, "spatial.6", plane)
    m = [[batch_norm(state, "spatial.7", 0, value) for value in row] for row in last]
    a = build(x, lambda c, i, j: sigmoid(s[c] + m[i][j]))
    return build(x, lambda c, i, j: x[c][i][j] + a[c][i][j] * x[c][i][j]), {"weights": a}


def selective_kernel(state: State, x: Image) -> tuple[Image, Shown]:
    """Li 2019: split by two kernels, fuse (eq. 1 to 4), select (eq. 5 and 6)."""
    channels = len(x)
    features: list[Image] = []
    for m in range(2):
        plane = convolve(state, f"kernels.{m}.0", x, m + 1, math.gcd(channels, 32))
        name = f"kernels.{m}.1"
        features.append(
            build(x, lambda c, i, j, p=plane, n=name: relu(batch_norm(state, n, c, p[c][i][j])))
        )
    fused = [
        average(pixels(one)) + average(pixels(two)) for one, two in zip(*features, strict=True)
    ]
    hidden = [
        relu(batch_norm(state, "norm", d, sum(w * v for w, v in zip(row, fused, strict=True))))
        for d, row in enumerate(state["reduce.weight"].tolist())
    ]
    scores = [
        sum(w * v for w, v in zip(row, hidden, strict=True))
        for row in state["select.weight"].tolist()
    ]
    pairs = [softmax([scores[c], scores[channels + c]]) for c in range(channels)]
    y = build(x, lambda c, i, j: sum(pairs[c][m] * features[m][c][i][j] for m in range(2)))
    return y, {"branches": [[pair[m] for pair in pairs] for m in range(2)]}


def batched(twin: Callable[[State, Image], tuple[Image, Shown]]) -> Twin:
    """Images one by one: (B, C, H, W) → y (B, C, H, W) and what each tap shows (B, ...)."""

    def run(state: State, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        pairs = [twin(state, image) for image in x.tolist()]
        shown = {
            path: torch.tensor([found[path] for _, found in pairs], dtype=torch.float64)
            for path in pairs[0][1]
        }
        return torch.tensor([y for y, _ in pairs], dtype=torch.float64), shown

    return run


ATTENTION_TWINS: dict[str, Twin] = {
    "gate": batched(gate),
    "se": batched(se),
    "eca": batched(eca),
    "spatial": batched(spatial),
    "cbam": batched(cbam),
    "self_attention": batched(self_attention),
    "softmax": batched(softmax_pooling),
    "simam": batched(simam),
    "coordinate": batched(coordinate),
    "triplet": batched(triplet),
    "bam": batched(bam),
    "selective_kernel": batched(selective_kernel),
}


# CAM: one picture, one target; activation and gradient (C, H, W) → raw map (H, W) -----------


def combine(a: Image, term: Callable[[int, int, int], float]) -> Tensor:
    """relu(Σ_c term(c, i, j)) at each position."""
    channels, height, width = size(a)
    return torch.tensor(
        [
            [relu(sum(term(c, i, j) for c in range(channels))) for j in range(width)]
            for i in range(height)
        ],
        dtype=torch.float64,
    )


def gradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Selvaraju 2017, eq. 1: w_c is the mean gradient; eq. 2: relu(Σ w_c A_c)."""
    a, g = activation.tolist(), gradient.tolist()
    w = [sum(pixels(plane)) / len(pixels(plane)) for plane in g]
    return combine(a, lambda c, i, j: w[c] * a[c][i][j])


def gradcam_plus_plus(activation: Tensor, gradient: Tensor) -> Tensor:
    """Chattopadhay 2018, eq. 5 and 19; α is 0 where its denominator is."""
    a, g = activation.tolist(), gradient.tolist()
    w: list[float] = []
    for plane, slopes in zip(a, g, strict=True):
        total = sum(pixels(plane))
        weight = 0.0
        for slope in pixels(slopes):
            denominator = 2 * slope**2 + total * slope**3
            alpha = slope**2 / denominator if denominator else 0.0
            weight += alpha * relu(slope)
        w.append(weight)
    return combine(a, lambda c, i, j: w[c] * a[c][i][j])


def hirescam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Draelos, Carin 2020: gradient times activation, element by element, then over channels."""
    a, g = activation.tolist(), gradient.tolist()
    return combine(a, lambda c, i, j: g[c][i][j] * a[c][i][j])


def layercam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Jiang 2021: each position's own positive gradient is its weight."""
    a, g = activation.tolist(), gradient.tolist()
    return combine(a, lambda c, i, j: relu(g[c][i][j]) * a[c][i][j])


def xgradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Fu 2020: w_c = Σ_ij A_c[i, j] / (Σ A_c) · g_c[i, j]; 0 where a channel sums to 0."""
    a, g = activation.tolist(), gradient.tolist()
    w: list[float] = []
    for plane, slopes in zip(a, g, strict=True):
        total = sum(pixels(plane))
        products = zip(pixels(plane), pixels(slopes), strict=True)
        w.append(sum(value / total * slope for value, slope in products) if total else 0.0)
    return combine(a, lambda c, i, j: w[c] * a[c][i][j])


def gradcam_elementwise(activation: Tensor, gradient: Tensor) -> Tensor:
    """Each product on its own through the ReLU, then summed over channels."""
    a, g = activation.tolist(), gradient.tolist()
    return combine(a, lambda c, i, j: relu(a[c][i][j] * g[c][i][j]))


def shapleycam(activation: Tensor, gradient: Tensor, curvature: Tensor) -> Tensor:
    """Cai 2025: w_c is the mean of g − (H A)/2."""
    a, g, h = activation.tolist(), gradient.tolist(), curvature.tolist()
    w = [
        average([s - k / 2 for s, k in zip(pixels(one), pixels(two), strict=True)])
        for one, two in zip(g, h, strict=True)
    ]
    return combine(a, lambda c, i, j: w[c] * a[c][i][j])


def finer_score(logits: list[float], target: int) -> float:
    """Zhang et al. 2025: y_c − 0.6 · the mean of the three logits that are nearest to y_c."""
    others = [y for d, y in enumerate(logits) if d != target]
    nearest = sorted(others, key=lambda y: abs(y - logits[target]))[:3]
    return logits[target] - 0.6 * average(nearest) if nearest else logits[target]


def residual_softmax_score(logits: list[float], target: int) -> float:
    """Cai 2025: y_c + ln p_c."""
    return logits[target] + math.log(softmax(logits)[target])


def refinecam(activations: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """Domeniconi et al. 2026: the product of Grad-CAM++ maps, each from 0 to 1, at one size."""
    _, height, width = activations[0].shape
    product = [[1.0] * width for _ in range(height)]
    for depth, (activation, gradient) in enumerate(zip(activations, gradients, strict=True)):
        plane = gradcam_plus_plus(activation, gradient).tolist()
        low, high = min(pixels(plane)), max(pixels(plane))
        if low == high and depth:
            continue
        scaled = [[(v - low) / (high - low) if high > low else 0.0 for v in row] for row in plane]
        resized = resize(scaled, height, width)
        product = [
            [a * b for a, b in zip(one, two, strict=True)]
            for one, two in zip(product, resized, strict=True)
        ]
    return torch.tensor(product, dtype=torch.float64)


def eigengradcam(activation: Tensor, gradient: Tensor) -> Tensor:
    """The first principal component of the products, rising with their sum over channels."""
    a, g = activation.tolist(), gradient.tolist()
    products = build(a, lambda c, i, j: a[c][i][j] * g[c][i][j])
    rows = [[v - average(pixels(plane)) for v in pixels(plane)] for plane in products]
    v = np.linalg.svd(np.array(rows).T, full_matrices=False)[2][0]
    _, height, width = size(a)
    flat = [sum(row[n] * w for row, w in zip(rows, v, strict=True)) for n in range(height * width)]
    evidence = [sum(pixels(plane)[n] for plane in products) for n in range(height * width)]
    sign = -1.0 if sum(x * y for x, y in zip(flat, evidence, strict=True)) < 0 else 1.0
    found = [[relu(sign * flat[i * width + j]) for j in range(width)] for i in range(height)]
    return torch.tensor(found, dtype=torch.float64)


def ablationcam(
    resume: Callable[[Tensor], Tensor], image: Tensor, activation: Tensor, target: int
) -> Tensor:
    """Desai, Ramaswamy 2020: what the score loses without each channel, not divided by it."""
    a = activation.tolist()
    whole = float(resume(activation[None].clone())[0, target])
    losses: list[float] = []
    for c in range(len(a)):
        rest = [[[0.0] * len(r) for r in p] if k == c else p for k, p in enumerate(a)]
        losses.append(
            whole - float(resume(torch.tensor([rest], dtype=activation.dtype))[0, target])
        )
    return combine(a, lambda c, i, j: losses[c] * a[c][i][j])


def eigencam(activation: Tensor, gradient: Tensor | None = None) -> Tensor:
    """Muhammad, Yeasin 2020: A V₁ by SVD of A (N, C), turned so that its sum is not negative."""
    _, height, width = activation.shape
    matrix = np.array([pixels(plane) for plane in activation.tolist()]).T  # (N, C)
    v = np.linalg.svd(matrix, full_matrices=False)[2][0]
    flat = [sum(value * weight for value, weight in zip(row, v, strict=True)) for row in matrix]
    sign = -1.0 if sum(flat) < 0 else 1.0
    rows = [[relu(sign * flat[i * width + j]) for j in range(width)] for i in range(height)]
    return torch.tensor(rows, dtype=torch.float64)


def scorecam(
    predict: Callable[[Tensor], Tensor], image: Tensor, activation: Tensor, target: int
) -> Tensor:
    """Wang 2020, algorithm 1: mask by each channel, weigh by the softmax of the scores' increase.

    `predict` takes a batch of one in the image's own type.
    """
    a = activation.tolist()
    height, width = image.shape[-2:]
    baseline = float(predict(torch.zeros_like(image)[None])[0, target])
    scores: list[float] = []
    for plane in a:
        low, high = min(pixels(plane)), max(pixels(plane))
        mask = [[(v - low) / (high - low) if high > low else 0.0 for v in row] for row in plane]
        masked = torch.tensor(image.tolist(), dtype=torch.float64) * torch.tensor(
            resize(mask, height, width), dtype=torch.float64
        )
        scores.append(float(predict(masked[None].to(image))[0, target]) - baseline)
    w = softmax(scores)
    return combine(a, lambda c, i, j: w[c] * a[c][i][j])


def resize(plane: list[list[float]], height: int, width: int) -> list[list[float]]:
    """Bilinear, pixel centres at half integers, the border repeated outside."""

    def mix(at: int, old: int, new: int) -> tuple[int, int, float]:
        place = max((at + 0.5) * old / new - 0.5, 0.0)
        first = int(place)
        return first, min(first + 1, old - 1), place - first

    out: list[list[float]] = []
    for i in range(height):
        top, bottom, down = mix(i, len(plane), height)
        row: list[float] = []
        for j in range(width):
            left, right, across = mix(j, len(plane[0]), width)
            above = plane[top][left] * (1 - across) + plane[top][right] * across
            below = plane[bottom][left] * (1 - across) + plane[bottom][right] * across
            row.append(above * (1 - down) + below * down)
        out.append(row)
    return out


def attention_gradient(weights: Tensor, gradient: Tensor, kind: str, grid: Any) -> Tensor:
    """relu(a · ∂y/∂a) of one picture, summed over a volume's channels before the ReLU; for
    tokens the mean over heads (Chefer 2021, eq. 5) and queries, after it.

    `grid` is where the map lies: that of the positions, for tokens that of the keys.
    """
    a, g = weights.tolist(), gradient.tolist()
    if kind == "volume":
        return combine(a, lambda c, i, j: a[c][i][j] * g[c][i][j])
    if kind == "spatial":
        return combine([a], lambda c, i, j: a[i][j] * g[i][j])
    if kind == "pool":
        flat = [relu(w * s) for w, s in zip(a, g, strict=True)]
    else:
        heads, queries, keys = size(a)
        flat = [
            sum(relu(a[h][n][m] * g[h][n][m]) for h in range(heads) for n in range(queries))
            / (heads * queries)
            for m in range(keys)
        ]
    return torch.tensor(flat, dtype=torch.float64).reshape(grid)


FORMULA_TWINS: dict[str, Callable[..., Tensor]] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "hirescam": hirescam,
    "layercam": layercam,
    "xgradcam": xgradcam,
    "eigencam": eigencam,
    "scorecam": scorecam,
    "gradcam-elementwise": gradcam_elementwise,
    "finercam": gradcam,  # of the gradients of `finer_score`
    "shapleycam": shapleycam,
    "refinecam": refinecam,
    "eigengradcam": eigengradcam,
    "ablationcam": ablationcam,
    "attention*gradient": attention_gradient,
}

SCORE_TWINS: dict[str, Callable[[list[float], int], float]] = {
    "finercam": finer_score,
    "shapleycam": residual_softmax_score,
}

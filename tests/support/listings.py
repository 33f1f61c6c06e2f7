"""Attention modules as people write them: twins of the papers, each telling what it computed.

All map (B, C, H, W) to (B, C, H, W). `kept` holds the tensors that the paper calls attention, as
they came out of the last squashing function, in the order in which they are laid on features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

C, H, W = 16, 6, 10  # of the features that the tests give them
N = H * W


class Listing(nn.Module):
    """`keep` notes a tensor, untouched, and hands it on."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def keep(self, weights: Tensor) -> Tensor:
        self.kept.append(weights.detach().clone())
        return weights


def bottleneck(channels: int = C) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels)
    )


class SE(Listing):
    """Squeeze-and-excitation (Hu 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.sigmoid = bottleneck(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        weights = self.keep(self.sigmoid(self.fc(x.mean((2, 3)))))
        return x * weights.view(*weights.shape, 1, 1).expand_as(x)


class CBAM(Listing):
    """Convolutional block attention (Woo 2018), weights expanded before the product."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp, self.conv = bottleneck(), nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        x = x * self.keep(F.sigmoid(pooled)).unsqueeze(2).unsqueeze(3).expand_as(x)
        both = torch.cat([x.max(1)[0].unsqueeze(1), x.mean(1).unsqueeze(1)], 1)
        return x * self.keep(torch.sigmoid(self.conv(both)))


class ECA(Listing):
    """Efficient channel attention (Wang 2020), in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.mean((2, 3))[:, None]).sigmoid_()  # (B, 1, C)
        y = self.keep(y).transpose(1, 2).unsqueeze(-1)
        x = x.clone()
        x *= y
        return x


class SGE(Listing):
    """Spatial group-wise enhancement (Li 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x.reshape(b * 4, c // 4, h, w)
        t = (x * F.adaptive_avg_pool2d(x, 1)).sum(1, keepdim=True).view(b * 4, -1)
        t = (t - t.mean(1, keepdim=True)) / (t.std(1, keepdim=True) + 1e-5)
        return (x * self.keep(t.view(b * 4, 1, h, w).sigmoid())).view(b, c, h, w)


class SimAM(Listing):
    """Parameter-free attention (Yang 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        d = (x - x.mean((2, 3), keepdim=True)).pow(2)
        n = x.shape[2] * x.shape[3] - 1
        return x * self.keep(
            torch.sigmoid(d / (4 * (d.sum((2, 3), keepdim=True) / n + 1e-4)) + 0.5)
        )


class Coordinate(Listing):
    """Coordinate attention (Hou 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(C, 8, 1), nn.BatchNorm2d(8)
        self.rows, self.columns = nn.Conv2d(8, C, 1), nn.Conv2d(8, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        y = torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).permute(0, 1, 3, 2)], 2)
        y = self.norm(self.conv(y))
        y = y * (F.relu6(y + 3) / 6)  # hard swish by hand: no attention
        rows, columns = torch.split(y, [h, w], 2)
        a_w = self.columns(columns.permute(0, 1, 3, 2)).sigmoid()
        a_h = self.rows(rows).sigmoid()
        self.keep(a_w), self.keep(a_h)
        return x * a_w * a_h


class Triplet(Listing):
    """Triplet attention (Misra 2021): two of its three branches work on permuted features."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(2, 1, 7, padding=3) for _ in range(3))

    def gate(self, index: int, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * self.keep(torch.sigmoid_(self.convs[index](pooled)))

    def forward(self, x: Tensor) -> Tensor:
        first = self.gate(0, x.permute(0, 2, 1, 3).contiguous()).permute(0, 2, 1, 3).contiguous()
        second = self.gate(1, x.permute(0, 3, 2, 1).contiguous()).permute(0, 3, 2, 1).contiguous()
        return (first + second + self.gate(2, x)) / 3


class Double(Listing):
    """Double attention (Chen 2018): gather, then distribute."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.v = nn.Conv2d(C, 8, 1), nn.Conv2d(C, 4, 1), nn.Conv2d(C, 4, 1)
        self.out = nn.Conv2d(8, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        gather = self.keep(self.b(x).flatten(2).softmax(-1))
        spread = self.keep(F.softmax(self.v(x).flatten(2), 1))
        y = torch.bmm(torch.bmm(self.a(x).flatten(2), gather.permute(0, 2, 1)), spread)
        return self.out(y.view(len(x), 8, *x.shape[2:]))


class External(Listing):
    """External attention (Guo 2021): the keys and values are layers; a double normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.mk, self.mv = nn.Linear(C, 12, bias=False), nn.Linear(12, C, bias=False)
        self.softmax = nn.Softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.keep(self.softmax(self.mk(x.flatten(2).transpose(1, 2))))  # (B, N, 12)
        y = self.mv(weights / torch.sum(weights, 2, keepdim=True))
        return y.transpose(1, 2).reshape(x.shape)


class EfficientMultiHead(Listing):
    """Efficient multi-head self-attention (ResT, Zhang 2021): a convolution over the heads before
    the softmax, a normalisation after it, fewer keys."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.kv, self.reduce = nn.Linear(C, C), nn.Linear(C, 2 * C), nn.Conv2d(C, C, 2, 2)
        self.mix = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Softmax(-1), nn.InstanceNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q = self.q(tokens).view(b, -1, 4, c // 4).transpose(1, 2)
        kv = self.kv(self.reduce(x).flatten(2).transpose(1, 2))
        k, v = kv.view(b, -1, 2, 4, c // 4).permute(2, 0, 3, 1, 4)
        conv, softmax, norm = self.mix
        y = norm(self.keep(softmax(conv(q @ k.transpose(-2, -1) / 2)))) @ v
        return y.transpose(1, 2).reshape(b, -1, c).transpose(1, 2).reshape(b, c, h, w)


class CrissCross(Listing):
    """Criss-cross attention (Huang 2019), twice: every position's row and column."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(C, 4, 1), nn.Conv2d(C, 4, 1), nn.Conv2d(C, C, 1)
        self.softmax = nn.Softmax(3)

    def once(self, x: Tensor) -> Tensor:
        h = x.shape[2]
        q, k, v = self.q(x), self.k(x), self.v(x)
        rows = torch.einsum("bchw,bciw->bhwi", q, k)
        rows = rows.masked_fill(torch.eye(h, dtype=torch.bool)[None, :, None], -torch.inf)
        columns = torch.einsum("bchw,bchj->bhwj", q, k)
        weights = self.keep(self.softmax(torch.cat([rows, columns], 3)))  # (B, H, W, H + W)
        along, across = weights[..., :h], weights[..., h:]
        y = torch.einsum("bhwi,bciw->bchw", along, v) + torch.einsum("bhwj,bchj->bchw", across, v)
        return x + 0.5 * y

    def forward(self, x: Tensor) -> Tensor:
        return self.once(self.once(x))


class Outlook(Listing):
    """Outlook attention (VOLO, Yuan 2021): weights for 3 × 3 neighbours from a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.attention = nn.Linear(C, C), nn.Linear(C, 2 * 81)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        last = x.permute(0, 2, 3, 1)
        v = F.unfold(self.v(last).permute(0, 3, 1, 2), 3, padding=1)
        v = v.reshape(b, 2, c // 2, 9, h * w).permute(0, 1, 4, 3, 2)  # (B, heads, N, 9, d)
        weights = self.attention(last).reshape(b, h * w, 2, 9, 9).permute(0, 2, 1, 3, 4)
        y = self.keep((weights / 3).softmax(-1)) @ v
        return F.fold(y.permute(0, 1, 4, 3, 2).reshape(b, c * 9, h * w), (h, w), 3, padding=1)


class Axial(Listing):
    """Axial attention (Ho 2019): along the columns, then along the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.ModuleList(nn.Linear(C, 3 * C, bias=False) for _ in range(2))

    def along(self, index: int, x: Tensor) -> Tensor:  # (B, lines, length, C)
        q, k, v = self.qkv[index](x.flatten(0, 1)).chunk(3, -1)
        weights = self.keep((q @ k.transpose(1, 2) / 4).softmax(-1))
        return (weights @ v).view_as(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.along(0, x.permute(0, 3, 2, 1)).permute(0, 2, 1, 3)
        return self.along(1, x).permute(0, 3, 1, 2)


class PyramidSplit(Listing):
    """Pyramid split attention (Zhang 2021): a softmax over four branches of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(C, 4, k, padding=k // 2) for k in (1, 3, 5, 7))
        self.se = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Sigmoid()) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        branches = [conv(x) for conv in self.convs]
        gates = [se(y.mean((2, 3))) for se, y in zip(self.se, branches, strict=True)]
        weights = self.keep(torch.stack(gates, 1)[..., None, None].softmax(1))  # (B, 4, 4, 1, 1)
        return (torch.stack(branches, 1) * weights).flatten(1, 2)


class Polarized(Listing):
    """Polarised self-attention (Liu 2021), its two branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.v, self.q, self.up = nn.Conv2d(C, 8, 1), nn.Conv2d(C, 1, 1), nn.Conv2d(8, C, 1)
        self.sv, self.sq = nn.Conv2d(C, 8, 1), nn.Conv2d(C, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        pool = self.keep(self.q(x).reshape(b, -1, 1).softmax(1))  # (B, N, 1)
        z = (self.v(x).reshape(b, 8, -1) @ pool).unsqueeze(-1)
        channel = x * self.keep(F.layer_norm(self.up(z), (C, 1, 1)).sigmoid())
        query = self.keep(self.sq(x).mean((2, 3)).reshape(b, 1, 8).softmax(-1))
        y = torch.matmul(query, self.sv(x).reshape(b, 8, -1)).reshape(b, 1, h, w)
        return channel + self.keep(y.sigmoid()) * x


class Contextual(Listing):
    """Contextual transformer (Li 2021): a softmax over positions, one for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.value = nn.Conv2d(C, C, 3, padding=1), nn.Conv2d(C, C, 1)
        self.attention = nn.Sequential(nn.Conv2d(2 * C, 8, 1), nn.ReLU(), nn.Conv2d(8, 9 * C, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        k = self.key(x)
        scores = self.attention(torch.cat([k, x], 1)).reshape(b, c, 9, h, w).mean(2).view(b, c, -1)
        v = self.value(x).view(b, c, -1)
        return k + (self.keep(F.softmax(scores, -1)) * v).view(b, c, h, w)


class Shuffle(Listing):
    """Shuffle attention (Zhang 2021): half of each group's channels by channel, half by feature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(4, 1, 2, 1, 1))
        self.norm = nn.GroupNorm(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        one, other = x.reshape(b * 4, c // 4, h, w).chunk(2, 1)
        gate = self.scale[0] * one.mean((2, 3), keepdim=True) + self.scale[1]
        one = one * self.keep(gate.sigmoid())
        gate = self.scale[2] * self.norm(other) + self.scale[3]
        other = other * self.keep(gate.sigmoid())
        return torch.cat([one, other], 1).reshape(b, c, h, w)


class SelectiveKernels(Listing):
    """Selective kernels (Li 2019), as a softmax over a new first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(C, C, k, padding=k // 2) for k in (1, 3, 5))
        self.fc, self.fcs = nn.Linear(C, 8), nn.ModuleList(nn.Linear(8, C) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.stack([conv(x) for conv in self.convs])  # (3, B, C, H, W)
        z = self.fc(branches.sum(0).mean((2, 3)))
        scores = torch.stack([fc(z)[..., None, None] for fc in self.fcs])
        return (self.keep(scores.softmax(0)) * branches).sum(0)


class SelectiveOneByOne(SelectiveKernels):
    """Selective kernels whose branches are taken out and weighed one by one."""

    def forward(self, x: Tensor) -> Tensor:
        branches = [conv(x) for conv in self.convs]
        z = self.fc(sum(branches).mean((2, 3)))
        weights = self.keep(torch.stack([fc(z) for fc in self.fcs], 1).softmax(1))  # (B, 3, C)
        return sum(y * weights[:, i, :, None, None] for i, y in enumerate(branches))


class BAM(Listing):
    """Bottleneck attention (Park 2018): 1 + σ(channel + position)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.conv = bottleneck(), nn.Conv2d(C, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        both = self.fc(x.mean((2, 3)))[..., None, None].expand_as(x) + self.conv(x).expand_as(x)
        return (1 + self.keep(torch.sigmoid(both))) * x


class GlobalContext(Listing):
    """Global context (Cao 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.mask, self.fc = nn.Conv2d(C, 1, 1), bottleneck()

    def forward(self, x: Tensor) -> Tensor:
        weights = self.keep(self.mask(x).flatten(2).softmax(2)).unsqueeze(-1)  # (B, 1, N, 1)
        context = torch.matmul(x.flatten(2).unsqueeze(1), weights)
        return x + self.fc(context.flatten(1))[..., None, None]


class Dual(Listing):
    """Dual attention (DANet, Fu 2019): positions attend to positions, channels to channels."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Conv2d(C, 4, 1), nn.Conv2d(C, 4, 1), nn.Conv2d(C, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x).flatten(2), self.k(x).flatten(2), self.v(x).flatten(2)
        positions = self.keep(torch.bmm(q.transpose(1, 2), k).softmax(-1))  # (B, N, N)
        y = torch.bmm(v, positions.permute(0, 2, 1))
        flat = x.flatten(2)
        energy = torch.bmm(flat, flat.transpose(1, 2))
        channels = self.keep(F.softmax(energy.max(-1, keepdim=True)[0] - energy, -1))
        return (y + torch.bmm(channels, flat)).view_as(x)


class TokenGate(Listing):
    """A gate on tokens (B, N, C): by position, then by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.channel = nn.Linear(C, 1), nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens * self.keep(self.fc(tokens).sigmoid())
        tokens = tokens * self.keep(self.channel(tokens.mean(1, keepdim=True)).sigmoid())
        return tokens.transpose(1, 2).reshape(x.shape)


class MultiHead(Listing):
    """Multi-head self-attention written by hand with a class token, its heads mixed after the
    softmax (talking heads, Shazeer 2020), by einsum."""

    def __init__(self, mix: bool = False) -> None:
        super().__init__()
        self.qkv, self.token = nn.Linear(C, 3 * C), nn.Parameter(torch.randn(1, 1, C))
        self.mix = nn.Linear(4, 4) if mix else None

    def forward(self, x: Tensor) -> Tensor:
        b = len(x)
        tokens = torch.cat([self.token.expand(b, -1, -1), x.flatten(2).transpose(1, 2)], 1)
        q, k, v = self.qkv(tokens).reshape(b, -1, 3, 4, C // 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = self.keep(torch.einsum("bhnd,bhmd->bhnm", q, k).softmax(-1))
        if self.mix is not None:
            weights = self.mix(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y = torch.einsum("bhnm,bhmd->bhnd", weights, v).transpose(1, 2).flatten(2)
        return y[:, 1:].transpose(1, 2).reshape(x.shape)


class Windows(Listing):
    """Self-attention inside 2 × 2 windows of the grid shifted by one (Liu 2021)."""

    def __init__(self, shift: int = 1) -> None:
        super().__init__()
        self.qkv, self.shift = nn.Linear(C, 3 * C), shift

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = torch.roll(x.permute(0, 2, 3, 1), (-self.shift, -self.shift), (1, 2))
        y = y.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.qkv(y).reshape(-1, 4, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = self.keep((q @ k.transpose(-2, -1)).softmax(-1)) @ v
        y = y.transpose(1, 2).reshape(b, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        return torch.roll(y.reshape(b, h, w, c), (self.shift, self.shift), (1, 2)).permute(
            0, 3, 1, 2
        )


class Kernels(Listing):
    """Dynamic convolution (Chen 2020): attention over kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.kernels = nn.Linear(C, 3), nn.Parameter(torch.randn(3, C, C, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.keep(self.fc(x.mean((2, 3))).softmax(-1))  # (B, 3), of one picture
        return F.conv2d(x, (weights @ self.kernels.flatten(1)).view(C, C, 1, 1))


class Hands(Listing):
    """Three gates whose functions are written out: a sigmoid, a hard sigmoid, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(C, 1, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.keep(1 / (1 + torch.exp(-self.convs[0](x))))
        x = x * self.keep(nn.ReLU6()(self.convs[1](x) + 3) / 6)
        e = torch.exp(self.convs[2](x).flatten(2))
        return x * self.keep(e / e.sum(-1, keepdim=True)).view(-1, 1, H, W)


class Features(nn.Module):
    """Returns its features in a tuple, with their own gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.sigmoid = nn.Conv2d(C, 1, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return x + 0.0, {"gate": self.sigmoid(self.conv(x))}


class Tuples(Listing):
    """Features and weights that come through a tuple and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.both = Features()

    def forward(self, x: Tensor) -> Tensor:
        features, weights = self.both((x, x)[0])
        return torch.einsum("bchw, bhw -> bchw", [features, self.keep(weights["gate"])[:, 0]])


class Gate(Listing):
    """A gate of linear layers on every position's channels, and tanh as the features before it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(C, C, 1), nn.Conv2d(C, C, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.keep(self.two(F.relu(self.one(x))).sigmoid())
        x = torch.tanh(x)
        return x * self.keep(self.one(x.mean((2, 3), keepdim=True)).sigmoid())


class Coarse(Listing):
    """A map of half the size, made larger (attention gates, Oktay 2018; residual attention, Wang
    2017: 1 + gate)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.full = nn.Conv2d(C, 1, 2, 2), nn.Conv2d(C, C, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.keep(self.conv(x).sigmoid())
        x = F.interpolate(gate, scale_factor=2, mode="bilinear") * x
        gate = self.keep(self.full(x).sigmoid())
        return (1.0 + F.interpolate(gate, size=x.shape[2:])).mul(x)


class ClassToken(Listing):
    """Gates on tokens with a class token: of each channel, and of each token."""

    def __init__(self) -> None:
        super().__init__()
        self.channel, self.each = nn.Linear(C, C), nn.Linear(C, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
        tokens = tokens * self.keep(self.channel(tokens[:, :1]).sigmoid())
        tokens = tokens * self.keep(self.each(tokens).sigmoid())
        return tokens[:, 1:].transpose(1, 2).reshape(x.shape)


class Inside(Listing):
    """A gate in a child that is no attention, then one of its own by the same function; the own
    map is divided by its sum, as a product with the reciprocal."""

    def __init__(self) -> None:
        super().__init__()
        self.child, self.conv = (
            Function(lambda m, x: m.conv(x).sigmoid()[:, :C]),
            nn.Conv2d(C, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = self.keep(self.conv(self.child(x)).sigmoid())
        return x * (gate * (1 / gate.sum((2, 3), keepdim=True).expand_as(gate)[..., :1]))


class Several(Listing):
    """One module that runs twice, a product of gates, and a gate with its complement."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.conv, self.other = nn.Linear(C, C), nn.Conv2d(C, 1, 1), nn.Conv2d(C, C, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        channel = self.keep(self.sigmoid(self.fc(x.mean((2, 3)))))[:, :, None, None]
        x = x * (channel * self.keep(self.sigmoid(self.conv(x))))
        gate = self.keep(self.sigmoid(self.conv(x)))
        return torch.lerp(x, self.other(x), gate) + x * gate + (1 - gate) * self.other(x)


FOUND: dict[str, tuple[Callable[[], Listing], list[tuple[str, tuple[int, ...]]]]] = {
    "squeeze-and-excitation": (SE, [("channel", (C,))]),
    "CBAM": (CBAM, [("channel", (C,)), ("spatial", (H, W))]),
    "ECA": (ECA, [("channel", (C,))]),
    "SGE": (SGE, [("other", (4, 1, H, W))]),
    "SimAM": (SimAM, [("volume", (C, H, W))]),
    "coordinate": (Coordinate, [("axis", (C, W)), ("axis", (C, H))]),
    "triplet": (Triplet, [("axis", (C, W)), ("axis", (C, H)), ("spatial", (H, W))]),
    "double": (Double, [("other", (4, N)), ("other", (4, N))]),
    "external": (External, [("other", (N, 12))]),
    "efficient multi-head": (EfficientMultiHead, [("token", (4, N, N // 4))]),
    "criss-cross": (CrissCross, [("other", (H, W, H + W))] * 2),
    "outlook": (Outlook, [("other", (2, N, 9, 9))]),
    "axial": (Axial, [("other", (W, H, H)), ("other", (H, W, W))]),
    "pyramid split": (PyramidSplit, [("branch", (4, 4))]),
    "polarised": (
        Polarized,
        [("pool", (N,)), ("channel", (C,)), ("other", (1, 8)), ("spatial", (H, W))],
    ),
    "contextual": (Contextual, [("volume", (C, H, W))]),
    "shuffle": (Shuffle, [("channel", (C // 2,)), ("volume", (C // 2, H, W))]),
    "selective kernels": (SelectiveKernels, [("branch", (3, C))]),
    "selective one by one": (SelectiveOneByOne, [("branch", (3, C))]),
    "BAM": (BAM, [("volume", (C, H, W))]),
    "global context": (GlobalContext, [("pool", (N,))]),
    "dual": (Dual, [("token", (1, N, N)), ("other", (C, C))]),
    "gates on tokens": (TokenGate, [("spatial", (H, W)), ("channel", (C,))]),
    "multi-head": (MultiHead, [("token", (4, N + 1, N + 1))]),
    "talking heads": (lambda: MultiHead(True), [("token", (4, N + 1, N + 1))]),
    "windows": (Windows, [("token", (2, N, 4))]),
    "kernels": (Kernels, [("other", (3,))]),
    "written out": (Hands, [("spatial", (H, W))] * 3),
    "tuples": (Tuples, [("spatial", (H, W))]),
    "coarse": (Coarse, [("spatial", (H // 2, W // 2)), ("volume", (C, H // 2, W // 2))]),
    "class token": (ClassToken, [("channel", (C,)), ("other", (N + 1, 1))]),
    "inside": (Inside, [("spatial", (H, W))]),
    "several": (Several, [("channel", (C,)), ("spatial", (H, W)), ("spatial", (H, W))]),
    "gate": (Gate, [("volume", (C, H, W)), ("channel", (C,))]),
}


class Function(nn.Module):
    """A function of features as a module, with a convolution `conv` of C to 4·C channels and a
    parameter `p` (C, H, W)."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.conv = function, nn.Conv2d(C, 4 * C, 1)
        self.p = nn.Parameter(torch.randn(C, H, W))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def glu(m: nn.Module, x: Tensor) -> Tensor:
    a, b, *_ = m.conv(x).chunk(4, 1)
    return a * torch.sigmoid(b)


def conv_lstm(m: nn.Module, x: Tensor) -> Tensor:
    """Two steps of a convolutional LSTM cell."""
    h, c = m.conv(x)[:, :C], m.conv(x)[:, C : 2 * C]
    for _ in range(2):
        i, f, o, g = m.conv(x + h).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return h


def gru(m: nn.Module, x: Tensor) -> Tensor:
    """Two steps of a convolutional GRU cell."""
    h = m.conv(x)[:, :C]
    for _ in range(2):
        r, z = m.conv(x + h)[:, : 2 * C].sigmoid().chunk(2, 1)
        n = torch.tanh(m.conv(x + r * h)[:, :C])
        h = (1 - z) * n + z * h
    return h


def gelu(m: nn.Module, x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * torch.pow(x, 3))))


def acon(m: nn.Module, x: Tensor) -> Tensor:
    p, q = m.p[:, :1, :1], m.p[:, 1:2, :1]
    d = (p - q) * x
    return d * torch.sigmoid(m.p[:, 2:3, :1] * d) + q * x


def soft_argmax(m: nn.Module, x: Tensor) -> Tensor:
    """The expected row of each channel's softmax: a product with fixed coordinates."""
    rows = torch.linspace(-1, 1, H).view(1, 1, H, 1).expand(1, 1, H, W)
    return x + (x.flatten(2).softmax(-1).view_as(x) * rows).sum((2, 3), keepdim=True)


NOT_FOUND: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "SiLU": lambda m, x: F.silu(x),
    "GELU": lambda m, x: F.gelu(x),
    "Swish by hand": lambda m, x: x * torch.sigmoid(x),
    "Swish with a number": lambda m, x: x.mul(x.mul(1.702).sigmoid()),
    "Swish in place": lambda m, x: _in_place(x),
    "Swish with parameters": lambda m, x: x * torch.sigmoid(m.p[:, :1, :1] * x),
    "ACON": acon,
    "hard swish by hand": lambda m, x: x * F.relu6(x + 3) / 6,
    "hard swish by hand, in another order": lambda m, x: x * (F.relu6(x + 3, inplace=True) / 6),
    "GELU by hand": gelu,
    "Mish by hand": lambda m, x: x * torch.tanh(F.softplus(x)),
    "GLU by hand": glu,
    "GLU": lambda m, x: F.glu(m.conv(x), 1)[:, :C],
    "convolutional LSTM": conv_lstm,
    "convolutional GRU": gru,
    "LSTM": lambda m, x: x + nn.LSTM(C, C)(x.flatten(2).permute(2, 0, 1))[0].mean(),
    "dropout": lambda m, x: F.dropout(x, 0.5, training=True),
    "stochastic depth": lambda m, x: x * x.new_empty(len(x), 1, 1, 1).bernoulli_(0.5),
    "layer scale": lambda m, x: x * m.p,
    "a fixed mask": lambda m, x: x * torch.sigmoid(m.p),
    "tanh": lambda m, x: torch.tanh(m.conv(torch.tanh(x)))[:, :C],
    "sigmoid layers": lambda m, x: m.conv(torch.sigmoid(x)).sigmoid()[:, :C],
    "a normalisation": lambda m, x: x / x.pow(2).sum(1, keepdim=True).sqrt(),
    "a product": lambda m, x: x * m.conv(x)[:, :C],
    "soft argmax": soft_argmax,
    "ReLU6": lambda m, x: F.relu6(x) * m.conv(x)[:, :C],
}


def _in_place(x: Tensor) -> Tensor:
    y = x + 0.0
    return y.mul_(torch.sigmoid(y))


class Around(nn.Module):
    """A stem that makes (B, C, H, W) of (B, 3, 2·H, 2·W), the module, and a head of 5 classes that
    ends in a softmax."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, C, 2, 2), nn.BatchNorm2d(C), nn.ReLU())
        self.module = module
        self.norm = nn.BatchNorm2d(C)
        self.head = nn.Linear(C, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.module(self.stem(x))))
        return self.head(x.mean((2, 3))).softmax(1)

"""A VGG16 and a VGG19 with attention as beginners write it: a linear gate, squeeze-and-excitation
after each pooling, CBAM, and self-attention at the end. Nothing of vggviz is in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

COUNTS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (8, 16, 32, 64, 64)


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // 4),
            nn.ReLU(inplace=True),
            nn.Linear(channels // 4, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.fc(self.pool(x).view(b, c)).view(b, c, 1, 1)
        return x * y.expand_as(x)


class LinearGate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.Linear(channels, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        weights = self.sigmoid(self.attention(x.permute(0, 2, 3, 1)))
        return x * weights.permute(0, 3, 1, 2)


class CBAM(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 1), nn.ReLU(), nn.Conv2d(channels // 4, channels, 1)
        )
        self.conv = nn.Conv2d(2, 1, 7, padding=3)
        self.channel_gate = nn.Sigmoid()
        self.spatial_gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        average, highest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        x = x * self.channel_gate(self.mlp(average) + self.mlp(highest))
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return x * self.spatial_gate(self.conv(pooled))


class SelfAttention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = x.flatten(2).permute(2, 0, 1)  # (N, B, C)
        attended, _ = self.attention(tokens, tokens, tokens)
        return (tokens + attended).permute(1, 2, 0).reshape(b, c, h, w)


class VGG(nn.Module):
    def __init__(self, name: str, num_classes: int = 7) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for count, channels in zip(COUNTS[name], CHANNELS, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
            layers += [nn.MaxPool2d(2, 2), SqueezeExcitation(channels)]
        self.features = nn.Sequential(*layers)
        self.gate = LinearGate(before)
        self.cbam = CBAM(before)
        self.self_attention = SelfAttention(before)
        self.classifier = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.self_attention(self.cbam(self.gate(self.features(x))))
        return self.classifier(x.mean((2, 3)))


def vgg16(**options: Any) -> VGG:
    return VGG("vgg16", **options)


def vgg19(**options: Any) -> VGG:
    return VGG("vgg19", **options)

"""Efficient channel attention: a channel's weight depends on neighbouring channels only."""

from __future__ import annotations

import math

from torch import Tensor, nn

from vggviz.hooks.tap import Tap

__all__ = ["EfficientChannelAttention"]


class EfficientChannelAttention(nn.Module):
    """Weigh each channel by a 1-D convolution over the averages of neighbouring channels.

    z = mean over positions of x; s = σ(conv1d_k(z)), zeros past the ends; k is
    |log₂(C)/γ + b/γ| with γ = 2, b = 1, truncated, and one more where that is even; y = s ⊙ x.
    (B, C, H, W) → (B, C, H, W); the tap `channel` shows s (C,), each in (0, 1).

    Wang et al. 2020, 'ECA-Net', eq. 9 (the convolution) and eq. 12 (the kernel size: the nearest
    odd number, rounded as in the authors' code).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        nearest = int(abs((math.log2(channels) + 1) / 2))
        kernel = nearest if nearest % 2 else nearest + 1
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.channel = Tap("channel")

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        mean = x.mean((2, 3))  # (B, C)
        scale = self.conv(mean[:, None])[:, 0].sigmoid()  # (B, 1, C) -> (B, C)
        return x * self.channel(scale, (height, width))[:, :, None, None]

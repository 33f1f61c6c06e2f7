"""CBAM: channel attention, then spatial attention."""

from __future__ import annotations

from torch import Tensor, nn

from vggviz.attention.initialise import zero_biases
from vggviz.attention.spatial import SpatialAttention
from vggviz.hooks.tap import Tap

__all__ = ["CBAM", "ChannelAttention"]


class ChannelAttention(nn.Module):
    """Weigh each channel by one small network, shared by the channels' means and maxima.

    s = σ(W₂ relu(W₁ mean(x)) + W₂ relu(W₁ max(x))), W₁ (C/r, C), W₂ (C, C/r); y = s ⊙ x.
    (B, C, H, W) → (B, C, H, W); the tap `channel` shows s (C,), each in (0, 1).

    Woo et al. 2018, 'CBAM', eq. 2, r = 16. Departures: biases, as in the authors' released
    code; at least 4 hidden units.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.channel = Tap("channel")
        zero_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        scale = (self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))).sigmoid()  # (B, C)
        return x * self.channel(scale, (height, width))[:, :, None, None]


class CBAM(nn.Module):
    """Channel attention, then spatial attention on the weighted features.

    x' = channel(x) ⊙ x; y = spatial(x') ⊙ x'.
    (B, C, H, W) → (B, C, H, W); taps `channel` (C,) and `spatial` (H, W).

    Woo et al. 2018, 'CBAM: Convolutional Block Attention Module', eq. 1.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention(channels, kernel)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.spatial(self.channel(x))
        return y

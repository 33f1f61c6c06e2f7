"""Squeeze-and-excitation: channel attention from global averages."""

from __future__ import annotations

from torch import Tensor, nn

from vggviz.attention.initialise import zero_biases
from vggviz.hooks.tap import Tap

__all__ = ["SqueezeExcitation"]


class SqueezeExcitation(nn.Module):
    """Weigh each channel by a small network on the averages of all channels.

    z = mean over positions of x; s = σ(W₂ relu(W₁ z)), W₁ (C/r, C), W₂ (C, C/r); y = s ⊙ x.
    (B, C, H, W) → (B, C, H, W); the tap `channel` shows s (C,), each in (0, 1).

    Hu, Shen, Sun 2018, 'Squeeze-and-Excitation Networks', eq. 2 to 4, r = 16. This is channel
    attention: it weighs which features count, not where. Departures: biases, as in the authors'
    released code; at least 4 hidden units, so that narrow networks keep a bottleneck at all.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.squeeze = nn.Linear(channels, hidden)
        self.relu = nn.ReLU()
        self.excite = nn.Linear(hidden, channels)
        self.channel = Tap("channel")
        zero_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        scale = self.excite(self.relu(self.squeeze(x.mean((2, 3))))).sigmoid()  # (B, C)
        return x * self.channel(scale, (height, width))[:, :, None, None]

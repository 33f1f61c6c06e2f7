"""A simple gate of linear layers on the channel vector of every position."""

from __future__ import annotations

from torch import Tensor, nn

from vggviz.attention.initialise import zero_biases
from vggviz.hooks.tap import Tap

__all__ = ["Gate"]


class Gate(nn.Module):
    """Weigh every feature by a gate computed from its position's channel vector.

    a = σ(W₂ relu(W₁ x + b₁) + b₂) with W₁, W₂ (C, C), applied at each position; y = a ⊙ x.
    (B, C, H, W) → (B, C, H, W); the tap `weights` shows a (C, H, W), each in (0, 1).

    The listing of this gate that circulates applies `nn.Linear` to the (B, C, H, W) tensor
    itself, so to its last axis, the width, and raises as soon as W ≠ C; this one acts on
    channels, at any size. 1×1 convolutions are linear layers on the channel axis.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(channels, channels, 1)
        self.relu = nn.ReLU()
        self.out = nn.Conv2d(channels, channels, 1)
        self.weights = Tap("volume")
        zero_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        gate = self.out(self.relu(self.hidden(x))).sigmoid()  # (B, C, H, W)
        return x * self.weights(gate, (height, width))

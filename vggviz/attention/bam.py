"""BAM: channel and spatial attention side by side, in one gate."""

from __future__ import annotations

from torch import Tensor, nn

from vggviz.attention.initialise import zero_biases
from vggviz.hooks.tap import Tap

__all__ = ["BAM"]


class BAM(nn.Module):
    """Amplify every feature by a gate that adds a score of its channel and one of its position.

    s = norm(W₂ relu(W₁ mean(x) + b₁) + b₂) (C,); m = norm(f₃ relu(f₂ relu(f₁ relu(f₀ x)))) (H, W),
    f₀ and f₃ 1×1, f₁ and f₂ 3×3 convolutions of dilation 4, all on C/r channels;
    a_cij = σ(s_c + m_ij); y = x + a ⊙ x.
    (B, C, H, W) → (B, C, H, W); the tap `weights` shows a (C, H, W), each in (0, 1).

    Park et al. 2018, 'BAM: Bottleneck Attention Module', eq. 1 to 4, r = 16. Departures: ReLUs
    between the layers, which the equations leave out and the authors' released code has (its norms
    in the same places are left out); at least 4 hidden units.
    """

    def __init__(self, channels: int, reduction: int = 16, dilation: int = 4) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.channel = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
            nn.BatchNorm1d(channels),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 1),
            nn.BatchNorm2d(1),
        )
        self.weights = Tap("volume")
        zero_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        scores = self.channel(x.mean((2, 3)))[:, :, None, None] + self.spatial(x)  # (B, C, H, W)
        return x + x * self.weights(scores.sigmoid(), (height, width))

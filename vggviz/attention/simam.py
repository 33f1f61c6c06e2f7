"""SimAM: attention without a parameter."""

from __future__ import annotations

from torch import Tensor, nn

from vggviz.hooks.tap import Tap

__all__ = ["SimAM"]


class SimAM(nn.Module):
    """Weigh every feature by how much it stands out from the rest of its channel.

    With d = (x − mean)² and v = Σ d / (N − 1) over the N positions of a channel,
    a = σ(d / (4 (v + λ)) + 1/2), λ = 1e-4; y = a ⊙ x.
    (B, C, H, W) → (B, C, H, W); the tap `weights` shows a (C, H, W), each in [0.62, 1).

    Yang et al. 2021, 'SimAM', eq. 5 (the minimal energy) and eq. 6 (the gate), as in the
    authors' listing. Nothing is learned. `channels` is not used. With a single position (N = 1) v
    is taken to be 0.
    """

    def __init__(self, channels: int, regularisation: float = 1e-4) -> None:
        super().__init__()
        self.regularisation = regularisation
        self.weights = Tap("volume")

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        distance = (x - x.mean((2, 3), keepdim=True)).square()
        variance = distance.sum((2, 3), keepdim=True) / max(height * width - 1, 1)
        gate = (distance / (4 * (variance + self.regularisation)) + 0.5).sigmoid()
        return x * self.weights(gate, (height, width))

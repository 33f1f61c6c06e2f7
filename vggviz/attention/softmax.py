"""Softmax pooling: one global context vector, added to every position."""

from __future__ import annotations

from torch import Tensor, nn

from vggviz.attention.initialise import zero_biases
from vggviz.hooks.tap import Tap

__all__ = ["SoftmaxPooling"]


class SoftmaxPooling(nn.Module):
    """Average the features of all positions by softmax weights, and add that context back.

    a = softmax over positions of (w_k · x_j); c = Σ_j a_j x_j; y = x + W_v2 relu(LN(W_v1 c)),
    W_v1 (C/r, C), W_v2 (C, C/r).
    (B, C, H, W) → (B, C, H, W); the tap `pool` shows a (N,), N = H·W, summing to 1.

    Cao et al. 2019, 'GCNet', eq. 5 (the global context block), r = 16. Departure: at least 4
    hidden units.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.logit = nn.Conv2d(channels, 1, 1)
        self.transform = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, channels),
        )
        self.pool = Tap("pool")
        zero_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        weights = self.logit(x).flatten(1).softmax(-1)  # (B, N)
        weights = self.pool(weights, (height, width))
        context = (x.flatten(2) @ weights[:, :, None])[:, :, 0]  # (B, C, N) @ (B, N, 1) -> (B, C)
        return x + self.transform(context)[:, :, None, None]

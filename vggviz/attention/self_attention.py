"""Multi-head self-attention over positions, as in the Transformer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vggviz.attention.initialise import zero_biases
from vggviz.hooks.tap import Tap
from vggviz.types import Grid

__all__ = ["SelfAttention"]


class SelfAttention(nn.Module):
    """Let each position gather features from the whole image, and add them to its own.

    q = W_q n(x), k = W_k n(p), v = W_v n(p) at each position, where p is x averaged onto a grid
    of at most `grid` × `grid` and n a layer norm over channels; per head
    A = softmax(q kᵀ / √d), d = C/heads; y = x + W_o [A v of all heads].
    (B, C, H, W) → (B, C, H, W); the tap `token` shows A (heads, N, M), each row summing to 1,
    N = H·W queries, M ≤ grid² keys.

    Vaswani et al. 2017, 'Attention Is All You Need', eq. 1 and section 3.2.2, with the layer
    norm before (Xiong et al. 2020). Departures: keys and values are pooled, so that the map of
    224×224 queries fits in memory; no position encoding, since VGG's zero padding already encodes
    position (Islam et al. 2020). The softmax is written out: the fused
    `scaled_dot_product_attention` gives the same result but never shows its weights.
    Raises ValueError where `heads` does not divide `channels`.
    """

    def __init__(self, channels: int, heads: int = 4, grid: int = 14) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{heads} heads do not divide {channels} channels")
        self.heads = heads
        self.grid = grid
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        self.token = Tap("token")
        zero_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        keys: Grid = (min(height, self.grid), min(width, self.grid))
        pooled = x if keys == (height, width) else F.adaptive_avg_pool2d(x, keys)
        q = self._split(self.query(self._tokens(x)), 1)[0]  # (B, heads, N, d)
        k, v = self._split(self.key_value(self._tokens(pooled)), 2)  # (B, heads, M, d) each
        scale: float = q.shape[-1] ** -0.5
        weights = (q * scale @ k.mT).softmax(-1)  # (B, heads, N, M)
        mixed = self.token(weights, (height, width), keys) @ v  # (B, heads, N, d)
        mixed = mixed.transpose(1, 2).reshape(batch, height * width, channels)  # (B, N, C)
        return x + self.out(mixed).mT.reshape(x.shape)  # (B, C, N) -> (B, C, H, W)

    def _tokens(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, C), normalised over channels."""
        tokens: Tensor = self.norm(x.flatten(2).mT)
        return tokens

    def _split(self, x: Tensor, parts: int) -> Tensor:
        """(B, N, parts·C) -> (parts, B, heads, N, d)."""
        batch, count, width = x.shape
        shape = (batch, count, parts, self.heads, width // parts // self.heads)
        return x.reshape(shape).permute(2, 0, 3, 1, 4)

"""Coordinate attention: channel attention that keeps rows and columns apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vggviz.attention.initialise import zero_biases
from vggviz.hooks.tap import Tap

__all__ = ["CoordinateAttention"]


class CoordinateAttention(nn.Module):
    """Weigh every feature by one weight of its channel and row, and one of its channel and column.

    z_h = mean over columns of x, z_w = mean over rows; [f_h; f_w] = hardswish(norm(F₁ [z_h; z_w]));
    r = σ(F_h f_h), c = σ(F_w f_w), F₁ (C/r, C), F_h and F_w (C, C/r); y_ij = r_i ⊙ c_j ⊙ x_ij.
    (B, C, H, W) → (B, C, H, W); the tap `rows` shows r (C, H), `columns` c (C, W), each in (0, 1).

    Hou, Zhou, Feng 2021, 'Coordinate Attention for Efficient Mobile Network Design', eq. 4 to 9,
    r = 32 and at least 8 hidden channels, as in the authors' released code.
    """

    def __init__(self, channels: int, reduction: int = 32) -> None:
        super().__init__()
        hidden = max(channels // reduction, 8)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.activation = nn.Hardswish()
        self.row = nn.Conv2d(hidden, channels, 1)
        self.column = nn.Conv2d(hidden, channels, 1)
        self.rows = Tap("axis")
        self.columns = Tap("axis")
        zero_biases(self)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        strips = torch.cat((x.mean(3), x.mean(2)), 2)[..., None]  # (B, C, H + W, 1)
        hidden = self.activation(self.norm(self.reduce(strips)))
        above, beside = hidden.split((height, width), 2)
        rows = self.row(above)[..., 0].sigmoid()  # (B, C, H)
        columns = self.column(beside)[..., 0].sigmoid()  # (B, C, W)
        rows, columns = self.rows(rows, (height, 1)), self.columns(columns, (1, width))
        return x * rows[..., None] * columns[:, :, None]

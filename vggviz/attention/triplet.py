"""Triplet attention: three gates, each over two of the three axes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vggviz.hooks.tap import Tap

__all__ = ["TripletAttention"]


class PlaneGate(nn.Module):
    """A gate over a plane from the maximum and the mean along the axis that it leaves out.

    (B, D, P, Q) → σ(norm(conv₇ₓ₇([max over D; mean over D]))) (B, P, Q).
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.stack((x.amax(1), x.mean(1)), 1)  # (B, 2, P, Q)
        gate: Tensor = self.norm(self.conv(pooled))[:, 0].sigmoid()
        return gate


class TripletAttention(nn.Module):
    """Weigh every feature by the mean of three gates: of its position, of its channel and row, and
    of its channel and column.

    With the `PlaneGate`s m of positions (H, W), r of channels and rows (C, H), and c of channels
    and columns (C, W): y_kij = (m_ij + r_ki + c_kj) / 3 · x_kij.
    (B, C, H, W) → (B, C, H, W); the taps `spatial` (H, W), `rows` (C, H) and `columns` (C, W) show
    the gates, each in (0, 1).

    Misra et al. 2021, 'Rotate to Attend: Convolutional Triplet Attention Module', eq. 2 and 3,
    7×7 kernels without bias. `channels` is not used: the module is the same at any width.
    """

    def __init__(self, channels: int, kernel: int = 7) -> None:
        super().__init__()
        self.position = PlaneGate(kernel)
        self.row = PlaneGate(kernel)
        self.column = PlaneGate(kernel)
        self.spatial = Tap("spatial")
        self.rows = Tap("axis")
        self.columns = Tap("axis")

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        places = self.spatial(self.position(x), (height, width))
        rows = self.rows(self.row(x.permute(0, 3, 1, 2)), (height, 1))  # (B, C, H)
        columns = self.columns(self.column(x.transpose(1, 2)), (1, width))  # (B, C, W)
        return (x * places[:, None] + x * rows[..., None] + x * columns[:, :, None]) / 3

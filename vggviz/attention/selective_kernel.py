"""Selective kernels: channels choose between a small and a large receptive field."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vggviz.hooks.tap import Tap

__all__ = ["SelectiveKernel"]


class SelectiveKernel(nn.Module):
    """Mix two convolutions of x, with 3×3 and 5×5 receptive fields, by a softmax in each channel.

    u_m = relu(norm(conv_m(x))), m = 1, 2, grouped, the second with dilation 2;
    z = relu(norm(W Σ_m mean over positions of u_m)), W (d, C), d = max(C/r, 32);
    a_mc = softmax over m of (V_m z)_c, V_m (C, d); y = Σ_m a_m ⊙ u_m.
    (B, C, H, W) → (B, C, H, W); the tap `branches` shows a (2, C), summing to 1 in each channel.

    Li et al. 2019, 'Selective Kernel Networks', eq. 1 to 6, r = 16, 32 groups, or as many of them
    as divide C.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden, groups = max(channels // reduction, 32), math.gcd(channels, 32)
        self.kernels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(
                    channels, channels, 3, padding=size, dilation=size, groups=groups, bias=False
                ),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
            for size in (1, 2)
        )
        self.reduce = nn.Linear(channels, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.relu = nn.ReLU()
        self.select = nn.Linear(hidden, 2 * channels, bias=False)
        self.branches = Tap("branch")

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        features = torch.stack([kernel(x) for kernel in self.kernels], 1)  # (B, 2, C, H, W)
        hidden = self.relu(self.norm(self.reduce(features.sum(1).mean((2, 3)))))
        weights = self.select(hidden).unflatten(1, (2, -1)).softmax(1)  # (B, 2, C)
        weights = self.branches(weights, (height, width))
        return (features * weights[..., None, None]).sum(1)

"""Spatial attention: one weight a position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vggviz.hooks.tap import Tap

__all__ = ["SpatialAttention"]


class SpatialAttention(nn.Module):
    """Weigh each position by a 7×7 convolution over the mean and the maximum of its channels.

    m = σ(norm(conv₇ₓ₇([mean over channels; max over channels]))); y = m ⊙ x.
    (B, C, H, W) → (B, C, H, W); the tap `spatial` shows m (H, W), each in (0, 1).

    Woo et al. 2018, 'CBAM', eq. 3, with the batch norm and without the bias of the authors'
    released code: it keeps the gate from opening everywhere. `channels` is not used: the module is
    the same at any width.

    It starts as a blurred picture of the channels' mean: louder places are let through more. From
    random weights it may as well begin, and end, by shutting out the object.
    """

    def __init__(self, channels: int, kernel: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)
        self.spatial = Tap("spatial")
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the kernel anew: a tenth of PyTorch's default, and on the mean a Gaussian, one cell
        wide.

        The norm makes its height meaningless but for this: the higher, the slower the kernel
        turns. Quick ones were seen to drift to a pattern of rows and columns, the same for all
        pictures.
        """
        self.conv.reset_parameters()
        self.norm.reset_parameters()
        size = self.conv.kernel_size[0]
        bell = torch.exp(-((torch.arange(size) - size // 2) ** 2) / 2.0)
        self.conv.weight.mul_(0.1)
        self.conv.weight[0, 0] += 20 * (bell[:, None] * bell) / bell.sum() ** 2

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        pooled = torch.stack((x.mean(1), x.amax(1)), dim=1)  # (B, 2, H, W)
        scale = self.norm(self.conv(pooled))[:, 0].sigmoid()  # (B, H, W)
        return x * self.spatial(scale, (height, width))[:, None]

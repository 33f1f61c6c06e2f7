"""Spatial attention: one weight per position."""

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
    released code: the norm keeps the gate from saturating at 1 everywhere. `channels` is not used:
    the module is the same at any width.

    Departure: the kernel does not start at random (see `reset_parameters`). The weights of a fresh
    module rise with the mean over channels, blurred, and in training are around 1/2. A random
    kernel can start with the opposite sign, and was seen to keep suppressing the object.
    """

    def __init__(self, channels: int, kernel: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(1)
        self.spatial = Tap("spatial")
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the kernel: a Gaussian on the channel mean, plus small random weights.

        The random part is a tenth of PyTorch's default; the Gaussian has σ = 1 cell and sums to 20.
        Batch norm cancels the kernel's scale in the output, but a large kernel changes direction
        more slowly under a given learning rate. With a sum near 1, training was seen to drift to a
        pattern of rows and columns that was the same for all images.
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

"""EfficientNet-Lite0, with attention possible at the end of each of its five resolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from vggviz.networks.protocol import Network

__all__ = ["EfficientNetLite0"]

# Tan, Le 2019, table 1, with 'Lite' as in TensorFlow's model garden: repeats, kernel size, stride,
# expansion, channels.
BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STAGE_OF_LAST = {0: "block1", 2: "block2", 4: "block3", 10: "block4", 15: "block5"}


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's 'same' padding: (B, C, H, W) → (B, C', ⌈H/s⌉, ⌈W/s⌉).

    Where the padding is odd, the right and the lower side get one more.
    """

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for axis in (1, 0):  # F.pad takes the last axis first
            size, kernel, stride = x.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding))


class InvertedResidual(nn.Module):
    """1×1, depthwise k×k and 1×1 convolutions beside a shortcut: (B, C, H, W) → (B, C', H/s, W/s).

    Sandler et al. 2018, figure 4d; the first convolution is left out where `expansion` is 1, the
    shortcut where channels or resolution change.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        if expansion > 1:
            self.expand_conv = nn.Conv2d(channels, inner, 1, bias=False)
            self.bn0 = _norm(inner)
        self.depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        self.bn1 = _norm(inner)
        self.project_conv = nn.Conv2d(inner, out, 1, bias=False)
        self.bn2 = _norm(out)
        self.relu6 = nn.ReLU6()
        self.expands, self.has_shortcut = expansion > 1, stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        y = self.bn2(self.project_conv(self.relu6(self.bn1(self.depthwise_conv(y)))))
        return x + y if self.has_shortcut else y


class EfficientNetLite0(Network):
    """EfficientNet-Lite0: normalised pictures (B, 3, H, W) → logits (B, K).

    Tan, Le 2019, 'EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks', table
    1; 'Lite' has ReLU6 in place of SiLU and no squeeze-and-excitation. The stages `block1` to
    `block5` are the last blocks at 1/2 to 1/32 of the picture's resolution. Parameters carry the
    names of the package efficientnet-lite-pytorch without their underscores. Both kinds of `head`
    are the same here: 1×1 convolution, global average pooling and one linear layer. No stage ends
    with a pooling, so that `placement='after_pool'` raises ValueError.
    """

    stages = ("block1", "block2", "block3", "block4", "block5")

    def _build(self) -> dict[str, int]:
        config = self.config
        if config.placement == "after_pool":
            raise ValueError(
                "an EfficientNet's stages have no pooling at their end: placement before_pool"
            )
        channels = config.scaled(32)
        self.conv_stem = SameConv2d(3, channels, 3, stride=2, bias=False)
        self.bn0 = _norm(channels)
        self.blocks = nn.ModuleList()
        built: dict[str, int] = {}
        self.layers |= {"conv_stem": "conv_stem", "bn0": "bn0"}
        for repeats, kernel, stride, expansion, width in BLOCKS:
            for repeat in range(repeats):
                out, index = config.scaled(width), len(self.blocks)
                step = 1 if repeat else stride
                self.blocks.append(InvertedResidual(channels, out, kernel, step, expansion))
                self.layers[f"blocks.{index}"] = f"blocks.{index}"
                channels = out
                if stage := STAGE_OF_LAST.get(index):
                    built[stage] = channels
        head = config.scaled(1280)
        self.conv_head = nn.Conv2d(channels, head, 1, bias=False)
        self.bn1 = _norm(head)
        self.relu6 = nn.ReLU6()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(head, config.num_classes)
        self.layers |= {"conv_head": "conv_head", "bn1": "bn1", "fc": "fc"}
        return built

    def _chain(self) -> Iterator[tuple[str, nn.Module, str | None]]:
        for path in ("conv_stem", "bn0", "relu6"):
            yield path, self.get_submodule(path), None
        for index, block in enumerate(self.blocks):
            yield f"blocks.{index}", block, STAGE_OF_LAST.get(index)
        for path in ("conv_head", "bn1", "relu6"):
            yield path, self.get_submodule(path), None

    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, K) of the head's features (B, C, h, w)."""
        logits: Tensor = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return logits


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)

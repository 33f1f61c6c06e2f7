"""ResNet-50, with attention possible after each of its four stages."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from vggviz.networks.protocol import Network

__all__ = ["ResNet50"]

BLOCKS = (3, 4, 6, 3)  # He et al. 2016, table 1
CHANNELS = (64, 128, 256, 512)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut: (B, C, H, W) → (B, 4·width, H/s, W/s).

    He et al. 2016, figure 5, with the stride in the 3×3 convolution as torchvision has it.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU()
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        z: Tensor = self.relu(y + shortcut)
        return z


class ResNet50(Network):
    """ResNet-50: normalised pictures (B, 3, H, W) → logits (B, K).

    He, Zhang, Ren, Sun 2016, 'Deep Residual Learning for Image Recognition'. Parameters carry
    torchvision's names; the stages are `layer1` to `layer4`. Both kinds of `head` are the same
    here: global average pooling and one linear layer. No stage ends with a pooling, so that
    `placement='after_pool'` raises ValueError.
    """

    stages = ("layer1", "layer2", "layer3", "layer4")

    def _build(self) -> dict[str, int]:
        config = self.config
        if config.placement == "after_pool":
            raise ValueError(
                "a ResNet's stages have no pooling at their end: placement before_pool"
            )
        channels = config.scaled(64)
        self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layers |= {"conv1": "conv1", "bn1": "bn1"}
        built: dict[str, int] = {}
        for number, (stage, count) in enumerate(zip(self.stages, BLOCKS, strict=True)):
            width, blocks = config.scaled(CHANNELS[number]), []
            for block in range(count):
                blocks.append(Bottleneck(channels, width, 2 if number and not block else 1))
                channels = width * EXPANSION
            setattr(self, stage, nn.Sequential(*blocks))
            self.layers |= {f"{stage}.{block}": f"{stage}.{block}" for block in range(count)}
            self.layers[stage] = stage
            built[stage] = channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, config.num_classes)
        self.layers["fc"] = "fc"
        return built

    def _chain(self) -> Iterator[tuple[str, nn.Module, str | None]]:
        for path in ("conv1", "bn1", "relu", "maxpool"):
            yield path, self.get_submodule(path), None
        for stage in self.stages:
            yield stage, self.get_submodule(stage), stage

    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, K) of the last stage's features (B, C, h, w)."""
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits

"""The VGG family: configurations A, B, D and E, with and without batch norm."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from vggviz.networks.protocol import Network

__all__ = ["VGG", "VGGS"]

CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {  # of each block. Simonyan, Zisserman 2015, table 1
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
VGGS = tuple(f"{name}{norm}" for name in CONVOLUTIONS for norm in ("", "_bn"))


class VGG(Network):
    """VGG11, 13, 16 or 19: normalised pictures (B, 3, H, W) → logits (B, K).

    Simonyan, Zisserman 2015, 'Very Deep Convolutional Networks for Large-Scale Image
    Recognition', table 1. Parameters carry torchvision's names (`features.34.weight`,
    `classifier.6.bias`). The stages are the five blocks: each ends with its last ReLU, or with its
    pooling where `placement` is 'after_pool'. `layers` has the paper's names, 'conv1_1' to
    'fc8' ('head' for the one linear layer of `head='gap'`). H and W must be at least 32.
    """

    stages = ("block1", "block2", "block3", "block4", "block5")

    def _build(self) -> dict[str, int]:
        config = self.config
        name, _, norm = config.architecture.partition("_")
        features: list[nn.Module] = []
        self._ends: dict[int, str] = {}  # index in features -> the stage that ends with it
        built: dict[str, int] = {}

        def add(layer_name: str, layer: nn.Module) -> None:
            self.layers[layer_name] = f"features.{len(features)}"
            features.append(layer)

        channels = 3
        for block, (stage, count) in enumerate(zip(self.stages, CONVOLUTIONS[name], strict=True)):
            width = built[stage] = config.scaled(CHANNELS[block])
            for conv in range(1, count + 1):
                place = f"{block + 1}_{conv}"
                add(f"conv{place}", nn.Conv2d(channels, width, 3, padding=1))
                if norm:
                    add(f"bn{place}", nn.BatchNorm2d(width))
                add(f"relu{place}", nn.ReLU())
                channels = width
            after_pool = config.placement == "after_pool"
            self._ends[len(features) - 1 + after_pool] = stage
            add(f"pool{block + 1}", nn.MaxPool2d(2))
        self.features = nn.Sequential(*features)
        self.attention = nn.ModuleDict()  # here, so that state_dict has the order of version 0.1
        if config.head == "gap":
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Linear(channels, config.num_classes))
            self.layers["head"] = "classifier.0"
        else:
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(
                nn.Linear(channels * 49, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, config.num_classes),
            )
            self.layers |= {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
        return built

    def _chain(self) -> Iterator[tuple[str, nn.Module, str | None]]:
        for index, layer in enumerate(self.features):
            yield f"features.{index}", layer, self._ends.get(index)

    def classify(self, x: Tensor) -> Tensor:
        """Logits (B, K) of the last block's features (B, C, h, w)."""
        logits: Tensor = self.classifier(self.avgpool(x).flatten(1))
        return logits

"""VGG19 with attention at any of its five blocks, under torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vggviz.attention import ATTENTION
from vggviz.attention.build import build

__all__ = ["STAGES", "VGG", "AttentionStage", "VGGConfig"]

STAGES = ("block1", "block2", "block3", "block4", "block5")
# Configuration E: (channels, convolutions) of each block. Simonyan, Zisserman 2015, table 1.
BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
_rng_lock = Lock()  # attention modules draw from PyTorch's global generator


@dataclass(frozen=True, slots=True)
class VGGConfig:
    """Which VGG19: the whole description of a network but its weights.

    `attention` is 'none' or a key of `ATTENTION`, placed at `stages`, a subset of `STAGES`: after
    the last ReLU of the block, before its pooling (`placement='before_pool'`) or after it
    (`'after_pool'`). `blend='residual'` computes x + γ·(f(x) − x) with a learned γ that starts
    at 0, so that pretrained weights keep their logits to the bit; `'replace'` computes f(x).
    `head` is 'fc' (4096–4096–K, as in torchvision) or 'gap' (global average pooling, then one
    linear layer). `width` multiplies every convolution's channels, rounded to multiples of 8.

    Raises ValueError, naming the choices, for a value that does not exist.
    """

    attention: str = "none"
    stages: tuple[str, ...] = STAGES
    placement: Literal["before_pool", "after_pool"] = "before_pool"
    blend: Literal["residual", "replace"] = "residual"
    head: Literal["fc", "gap"] = "fc"
    batch_norm: bool = False
    width: float = 1.0
    num_classes: int = 1000

    def __post_init__(self) -> None:
        _choose("attention", self.attention, ("none", *ATTENTION))
        _choose("placement", self.placement, ("before_pool", "after_pool"))
        _choose("blend", self.blend, ("residual", "replace"))
        _choose("head", self.head, ("fc", "gap"))
        if isinstance(self.stages, str):
            raise ValueError(f"stages must be a tuple such as ('block5',), not {self.stages!r}")
        for stage in self.stages:
            _choose("stage", stage, STAGES)
        ordered = tuple(stage for stage in STAGES if stage in self.stages)
        object.__setattr__(self, "stages", ordered)
        if type(self.batch_norm) is not bool:
            raise ValueError(f"batch_norm must be true or false, not {self.batch_norm!r}")
        if type(self.width) not in (int, float) or not 0 < self.width <= 4:
            raise ValueError(f"width must lie in (0, 4], not {self.width!r}")
        if type(self.num_classes) is not int or self.num_classes < 1:  # True is an int, too
            raise ValueError(f"num_classes must be at least 1, not {self.num_classes!r}")

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON types; `from_json` gives it back."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> VGGConfig:
        """The configuration that `to_json` wrote. Raises ValueError for unknown keys."""
        if "sites" in data:  # files written before version 0.2
            data = {**data, "stages": data["sites"]}
            del data["sites"]
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown keys in a VGG configuration: {', '.join(sorted(unknown))}")
        return cls(**{**data, "stages": tuple(data.get("stages", STAGES))})

    def channels(self, stage: str) -> int:
        """How many channels the features have at `stage`."""
        return max(8, round(BLOCKS[STAGES.index(stage)][0] * self.width / 8) * 8)


class AttentionStage(nn.Module):
    """Attention f at one stage: f(x), or x + γ·(f(x) − x) with a γ that starts at 0.

    (B, C, H, W) → (B, C, H, W). `gamma` is None where the attention replaces the features.
    """

    gamma: nn.Parameter | None

    def __init__(self, attention: nn.Module, blend: Literal["residual", "replace"]) -> None:
        super().__init__()
        self.module = attention
        self.gamma = nn.Parameter(torch.zeros(())) if blend == "residual" else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(x)
        return y if self.gamma is None else x + self.gamma * (y - x)


class VGG(nn.Module):
    """VGG19 of a configuration: normalised pictures (B, 3, H, W) → logits (B, K).

    Simonyan, Zisserman 2015, 'Very Deep Convolutional Networks for Large-Scale Image
    Recognition', configuration E. Parameters carry torchvision's names (`features.34.weight`,
    `classifier.6.bias`); attention stands beside them under `attention.<stage>`. No ReLU works
    in place: with in-place ones a captured convolution comes out rectified. H and W must be at
    least 32.

    Weights start as torchvision's do (Kaiming normal, fan out), and attention as its own
    constructor sets it, drawn from `generator`, or from PyTorch's global one. With `empty` the
    backbone's parameters are left on the meta device, to be filled by `load_state_dict(…,
    assign=True)`; attention is built for real, since a module may hold more than its state_dict.
    Under `torch.device('meta')` all of the network is left there, to look at names and shapes.

    Raises ValueError where attention has no `Tap` or leaves a parameter or buffer uninitialised.
    """

    def __init__(
        self, config: VGGConfig, generator: torch.Generator | None = None, *, empty: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.layers: dict[str, str] = {}  # 'conv5_4' -> 'features.34'
        self._stage_after: dict[int, str] = {}  # features' index -> the stage behind it
        device = torch.empty(0).device  # `get_default_device` ignores `with` before torch 2.8
        empty = empty or device.type == "meta"
        with torch.device("meta"):
            self._build()
        if not empty:
            for part in (self.features, self.classifier):
                part.to_empty(device=device)
                initialise(part, generator)
        self.attention.update(_attention(config, generator, empty))
        self.attention.to(device)

    def _build(self) -> None:
        config = self.config
        features: list[nn.Module] = []

        def add(name: str, layer: nn.Module) -> None:
            self.layers[name] = f"features.{len(features)}"
            features.append(layer)

        channels = 3
        for block, stage in enumerate(STAGES, 1):
            for conv in range(1, BLOCKS[block - 1][1] + 1):
                width = config.channels(stage)
                add(f"conv{block}_{conv}", nn.Conv2d(channels, width, 3, padding=1))
                if config.batch_norm:
                    add(f"bn{block}_{conv}", nn.BatchNorm2d(width))
                add(f"relu{block}_{conv}", nn.ReLU())
                channels = width
            last_relu = len(features) - 1
            add(f"pool{block}", nn.MaxPool2d(2))
            self._stage_after[last_relu + (config.placement == "after_pool")] = stage
            if config.attention != "none" and stage in config.stages:
                self.layers[stage] = f"attention.{stage}"
            else:
                self.layers[stage] = f"features.{last_relu}"
        self.features = nn.Sequential(*features)
        self.attention = nn.ModuleDict()  # filled when the backbone stands
        if config.head == "gap":
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(nn.Linear(channels, config.num_classes))
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

    def forward(self, x: Tensor, stage: str | None = None) -> Tensor:
        """Logits (B, K) of normalised pictures (B, 3, H, W); or, with `stage`, of the features that
        arrive at the attention there, as `arriving` gave them."""
        for module in self._trunk(start=stage):
            x = module(x)
        logits: Tensor = self.classifier(self.avgpool(x).flatten(1))
        return logits

    def arriving(self, x: Tensor, stage: str) -> Tensor:
        """The features (B, C, h, w) that arrive where the attention of `stage` is, or would be.

        `model(model.arriving(x, stage), stage)` is `model(x)`.
        """
        for module in self._trunk(stop=stage):
            x = module(x)
        return x

    def below(self, stage: str) -> list[nn.Module]:
        """What a picture passes before the attention of `stage`."""
        return list(self._trunk(stop=stage))

    def _trunk(self, start: str | None = None, stop: str | None = None) -> Iterator[nn.Module]:
        """Layers and attention in the order of the forward pass, between two stages."""
        begun = start is None
        for index, layer in enumerate(self.features):
            if begun:
                yield layer
            stage = self._stage_after.get(index)
            if stage is None:
                continue
            if stage == stop:
                return
            begun = begun or stage == start
            if begun and stage in self.attention:
                yield self.attention[stage]

    def path(self, layer: str) -> str:
        """The module path of a stage, of a layer by its paper's name, or of a path itself.

        'block4' is the attention there, or the block's last ReLU where there is none; 'conv5_4'
        is 'features.34' without batch norm. Raises ValueError for a name that does not exist.
        """
        if layer in self.layers:
            return self.layers[layer]
        if layer and layer in dict(self.named_modules()):
            return layer
        raise ValueError(
            f"no layer {layer!r}: stages are {', '.join(STAGES)}, layers conv1_1 to pool5"
        )

    def source(self, stage: str) -> str:
        """The module path whose output arrives where the attention of `stage` is, or would be."""
        index = next(index for index, name in self._stage_after.items() if name == stage)
        return f"features.{index}"

    def gammas(self) -> dict[str, float]:
        """γ by stage, where attention is blended in: at 0 the network ignores it."""
        found: dict[str, float] = {}
        for stage, module in self.attention.items():
            if isinstance(module, AttentionStage) and module.gamma is not None:
                found[stage] = module.gamma.item()
        return found


def initialise(part: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw fresh weights of a part of the backbone in place, in torchvision's scheme: convolutions
    Kaiming normal (fan out), linear layers normal (0, 0.01), biases 0, norms 1 and 0.

    Raises TypeError for a module with parameters or buffers that the scheme does not know.
    """
    for module in part.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01, generator=generator)
            else:
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif any(True for _ in (*module.parameters(False), *module.buffers(False))):
            raise TypeError(f"no way is known to initialise a {type(module).__name__}")


def _attention(
    config: VGGConfig, generator: torch.Generator | None, empty: bool
) -> dict[str, AttentionStage]:
    """Attention by stage, on the CPU. PyTorch's global generator is left as it was, but for the one
    number that is drawn where `generator` is None and the network is not `empty`."""
    stages = config.stages if config.attention != "none" else ()
    if not stages:
        return {}
    where = torch.device("cpu") if generator is None else generator.device
    seed = 0
    if not empty:
        seed = int(torch.randint(2**62, (), generator=generator, device=where))
    with _rng_lock, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return {
            stage: AttentionStage(build(config.attention, config.channels(stage)), config.blend)
            for stage in stages
        }


def _choose(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"no {what} {given!r}: choose one of {', '.join(known)}")

"""Networks that vggviz builds, by architecture, and networks of others."""

from __future__ import annotations

from dataclasses import replace

import torch

from vggviz.networks.checkpoint import class_count, load_weights, read_checkpoint
from vggviz.networks.config import NetworkConfig, check_choice
from vggviz.networks.efficientnet_lite import EfficientNetLite0
from vggviz.networks.foreign import ForeignNetwork
from vggviz.networks.insertion import CutNetwork, insert_attention
from vggviz.networks.named import NetworkError, is_network_name, open_network
from vggviz.networks.protocol import AttentionStage, Network
from vggviz.networks.resnet import ResNet50
from vggviz.networks.vgg import VGG, VGGS

__all__ = [
    "ARCHITECTURES",
    "TORCHVISION",
    "AttentionStage",
    "CutNetwork",
    "ForeignNetwork",
    "Network",
    "NetworkConfig",
    "NetworkError",
    "build_network",
    "class_count",
    "insert_attention",
    "is_network_name",
    "load_weights",
    "open_network",
    "read_checkpoint",
    "resolve",
]

TORCHVISION: dict[str, type[Network]] = {**dict.fromkeys(VGGS, VGG), "resnet50": ResNet50}
"""The architectures whose weights torchvision offers, by its names."""
ARCHITECTURES: dict[str, type[Network]] = {**TORCHVISION, "efficientnet_lite0": EfficientNetLite0}
"""All architectures by name: a subclass of `Network` for each."""


def resolve(config: NetworkConfig) -> NetworkConfig:
    """The configuration with its stages in the order of the forward pass, all of them for ().

    Raises ValueError, listing the choices, for an unknown architecture or stage.
    """
    check_choice("architecture", config.architecture, tuple(ARCHITECTURES))
    stages = ARCHITECTURES[config.architecture].stages
    for stage in config.stages:
        check_choice("stage", stage, stages)
    chosen = config.stages or stages
    return replace(config, stages=tuple(stage for stage in stages if stage in chosen))


def build_network(
    config: NetworkConfig, generator: torch.Generator | None = None, *, empty: bool = False
) -> Network:
    """The network of a configuration: see `Network` for how its weights start.

    Raises ValueError for an unknown architecture or stage.
    """
    config = resolve(config)
    return ARCHITECTURES[config.architecture](config, generator, empty=empty)

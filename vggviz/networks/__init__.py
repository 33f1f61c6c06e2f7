"""Networks of other people: from torchvision, timm or a Python file, with their weights."""

from __future__ import annotations

from vggviz.networks.build import NetworkError, build_network
from vggviz.networks.checkpoint import class_count, load_weights, read_checkpoint

__all__ = ["NetworkError", "build_network", "class_count", "load_weights", "read_checkpoint"]

"""Attention modules: each takes `channels` and maps (B, C, H, W) to (B, C, H, W)."""

from __future__ import annotations

from torch import nn

from vggviz.attention.cbam import CBAM
from vggviz.attention.eca import EfficientChannelAttention
from vggviz.attention.gate import Gate
from vggviz.attention.se import SqueezeExcitation
from vggviz.attention.self_attention import SelfAttention
from vggviz.attention.simam import SimAM
from vggviz.attention.softmax import SoftmaxPooling
from vggviz.attention.spatial import SpatialAttention

__all__ = ["ATTENTION"]

ATTENTION: dict[str, type[nn.Module]] = {
    "gate": Gate,
    "se": SqueezeExcitation,
    "eca": EfficientChannelAttention,
    "spatial": SpatialAttention,
    "cbam": CBAM,
    "self_attention": SelfAttention,
    "softmax": SoftmaxPooling,
    "simam": SimAM,
}

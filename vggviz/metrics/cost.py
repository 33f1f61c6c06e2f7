"""What a network costs: parameters and multiply-adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vggviz.hooks.capture import evaluating
from vggviz.platform.device import run_network

__all__ = ["multiply_adds", "parameters"]


def parameters(model: nn.Module) -> int:
    """The number of learned parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, image: Tensor) -> int:
    """Multiplications, each with its addition, in one forward pass of `image` (1, 3, H, W).

    Convolutions and matrix products only, as PyTorch's FlopCounterMode counts them (it counts
    two operations for each pair); norms, activations, pooling and products by a gate are left
    out.
    """
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        run_network(model, image)
    return int(counter.get_total_flops()) // 2

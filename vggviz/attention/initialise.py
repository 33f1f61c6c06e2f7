"""Initialisation of attention modules beyond PyTorch's defaults."""

from __future__ import annotations

from torch import nn

__all__ = ["zero_biases"]


def zero_biases(module: nn.Module) -> None:
    """Set all biases in `module` to 0, so that the weights of a fresh gate are near σ(0) = 1/2."""
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[2] == "bias":
            nn.init.zeros_(parameter)

"""How the attention modules here start, beyond PyTorch's defaults."""

from __future__ import annotations

from torch import nn

__all__ = ["zero_biases"]


def zero_biases(module: nn.Module) -> None:
    """Set all biases in `module` to 0, so that a fresh gate opens halfway for every channel."""
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[2] == "bias":
            nn.init.zeros_(parameter)

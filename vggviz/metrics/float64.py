"""Double precision where there is some."""

from __future__ import annotations

from torch import Tensor

__all__ = ["float64"]


def float64(values: Tensor) -> Tensor:
    """`values` in double precision on their own device, or on the CPU where it has none (MPS)."""
    return (values.cpu() if values.device.type == "mps" else values).double()

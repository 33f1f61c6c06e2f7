"""The candidates for the logits in what a network returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["output_members"]


def output_members(output: Any) -> Sequence[Any]:
    """The candidates for the logits in an output: the key or attribute `logits`; else the values of
    a mapping or the members of a tuple or list; else the output itself."""
    if isinstance(output, Mapping):
        return (output["logits"],) if "logits" in output else tuple(output.values())
    if hasattr(output, "logits"):
        return (output.logits,)
    return output if isinstance(output, tuple | list) else (output,)

"""Build an attention module with every parameter and buffer initialised by the module itself."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from vggviz.attention import ATTENTION
from vggviz.hooks.tap import Tap

__all__ = ["build"]

_aten = torch.ops.aten
_ALLOCATIONS = {
    *(_aten.empty.memory_format, _aten.empty_like.default, _aten.new_empty.default),
    *(_aten.empty_strided.default, _aten.new_empty_strided.default, _aten.empty_permuted.default),
}


class _PoisonedMemory(TorchDispatchMode):
    """Memory that is allocated but not written holds NaN, so that reading it can be noticed."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _ALLOCATIONS and result.dtype.is_floating_point:
            result.fill_(math.nan)
        return result


def build(key: str, channels: int) -> nn.Module:
    """The module `ATTENTION[key](channels)`, on the CPU, drawn from PyTorch's global generator.

    Raises KeyError for an unknown key, ValueError where the module has no `Tap`, and where its
    constructor leaves a parameter or buffer of floating-point numbers uninitialised.
    """
    constructor = ATTENTION[key].module
    ours = getattr(constructor, "__module__", "").startswith("vggviz.attention.")
    # The mode makes PyTorch import its compiler, which takes a second: not for modules known here.
    poison = nullcontext() if ours else _PoisonedMemory()  # type: ignore[no-untyped-call]
    with torch.device("cpu"), poison:
        module: nn.Module = constructor(channels)
    if not any(isinstance(part, Tap) for part in module.modules()):
        raise ValueError(
            f"attention {key!r} has no Tap: pass its weights through one, or nothing can show them"
        )
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value) or _has_nan(value):
            raise ValueError(
                f"attention {key!r} leaves {name} uninitialised: its constructor must set it, for "
                "example with torch.nn.init"
            )
    return module


def _has_nan(value: Tensor) -> bool:
    return bool(value.isnan().any())

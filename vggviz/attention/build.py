"""Build an attention module with every parameter and buffer initialised by the module itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from vggviz.attention import ATTENTION
from vggviz.hooks.capture import evaluating
from vggviz.hooks.tap import Tap
from vggviz.hooks.tapped import Tapped
from vggviz.types import Error

__all__ = ["AttentionError", "build"]

SIDE = 14  # rows and columns of the features on which attention without taps is found

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


class AttentionError(Error, ValueError):
    """Attention that can't be had."""


def build(key: str, channels: int) -> nn.Module:
    """The module `ATTENTION[key](channels)`, on the CPU, drawn from PyTorch's global generator;
    one without a `Tap` inside `Tapped`.

    Raises KeyError for an unknown key; AttentionError where the constructor fails, returns no
    module or leaves a parameter or buffer of floating-point numbers uninitialised; and, of a module
    without taps, where it can't run, returns another shape or has no attention.
    """
    constructor = ATTENTION[key].module
    if getattr(constructor, "__module__", "").startswith("vggviz.attention."):
        with torch.device("cpu"):
            return constructor(channels)
    told = {"attention": key, "channels": channels}
    # The mode makes PyTorch import its compiler, which takes a second: not for modules known here.
    with torch.device("cpu"), _PoisonedMemory():  # type: ignore[no-untyped-call]
        try:
            module = constructor(channels)
        except Exception as error:  # whatever code of others raises
            why = f"{type(error).__name__}: {error}"
            raise AttentionError("attention_not_buildable", **told, why=why) from error
    if not isinstance(module, nn.Module):
        raise AttentionError("attention_no_module", **told, kind=type(module).__name__)
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value) or bool(value.isnan().any()):
            raise AttentionError("attention_uninitialised", **told, name=name)
    if any(isinstance(part, Tap) for part in module.modules()):
        return module
    return _with_taps(module, told)


def _with_taps(module: nn.Module, told: dict[str, Any]) -> nn.Module:
    """The module in a `Tapped`, after a trial."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(1, told["channels"], SIDE, SIDE, generator=generator)
    try:
        with torch.no_grad(), evaluating(module):
            output = module(features)
        tapped = Tapped(module, features)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise AttentionError("attention_not_runnable", **told, why=why) from error
    if getattr(output, "shape", None) != features.shape:
        shape = str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
        given = str(tuple(features.shape))
        raise AttentionError("attention_shape", **told, shape=shape, given=given)
    if not tapped.taps:
        raise AttentionError("attention_not_found", **told)
    return tapped

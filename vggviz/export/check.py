"""How far what onnxruntime computes from a file is from what PyTorch computes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vggviz.export.trace import Traceable

__all__ = ["differences", "rounding"]

Array = npt.NDArray[Any]
BATCH = 3


def differences(file: Path, network: Traceable, *, layout: bool = True) -> dict[str, float]:
    """The largest difference of each output of an ONNX file from what `network` gives, by name.

    Three pictures of noise, other ones and more of them than the file was traced with; the targets
    are −1, 0 and 1; attention that is an input is NaN for the first picture, and otherwise drawn
    from [0, 1). Maps are compared as they are shown, each scaled to [0, 1].

    With `layout`, onnxruntime optimises as it does by default: it lays channels out in blocks
    (NCHWc), and convolutions add up in another order than PyTorch's. Where that rounding turns a
    ReLU on or off, a gradient appears or is gone, and maps differ by more than rounding. Without
    `layout`, all its other optimisations are on (ORT_ENABLE_EXTENDED).
    """
    import onnxruntime

    inputs = _inputs(network)
    options = onnxruntime.SessionOptions()
    if not layout:
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
    values = {name: value.numpy() for name, value in zip(network.inputs, inputs, strict=True)}
    names = [one.name for one in session.get_outputs()]
    known = {one.name for one in session.get_inputs()}
    found = session.run(names, {name: value for name, value in values.items() if name in known})
    return _largest(dict(zip(names, found, strict=True)), network(*inputs))


def rounding(network: Traceable) -> dict[str, float]:
    """The same between PyTorch's float32 and float64, for `network` without uint8."""
    wide, inputs = copy(network), _inputs(network)
    wide.model = deepcopy(network.model).double()
    exact = wide(*(one.double() if one.is_floating_point() else one for one in inputs))
    return _largest({name: value.numpy() for name, value in exact.items()}, network(*inputs))


def _inputs(network: Traceable) -> list[Tensor]:
    size = network.pixels.shape[-1]
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(BATCH, 3, size, size, generator=generator) * 4 - 2
    if network.uint8 is not None:
        pixels = ((pixels + 2) * 63).to(torch.uint8)
    inputs = [pixels, torch.arange(-1, BATCH - 1)]
    for example in [*network.inputs.values()][2:]:
        painted = torch.rand(BATCH, *example.shape[1:], generator=generator)
        painted[0] = torch.nan
        inputs.append(painted)
    return inputs


def _largest(found: Mapping[str, Array], own: Mapping[str, Tensor]) -> dict[str, float]:
    far: dict[str, float] = {}
    for name, one in found.items():
        other = own[name].numpy()
        if name != "logits" and not name.startswith("attention/"):
            one, other = _scaled(one), _scaled(other)
        far[name] = float(abs(one - other).max())
    return far


def _scaled(maps: Array) -> Array:
    """(N, h, w), each map scaled to [0, 1]; zeros where it is flat."""
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1)

"""How far what onnxruntime computes from a file is from what PyTorch computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from vggviz.export.trace import Traceable

__all__ = ["differences"]

Array = npt.NDArray[np.float32]


def differences(file: Path, network: Traceable, *, batch: int = 3) -> dict[str, float]:
    """The largest difference of each output of an ONNX file from what `network` gives, by name.

    Pictures of noise, other ones and more of them than the file was traced with; one target is −1,
    the others are classes 0, 1, …; attention that is an input is NaN for the first picture, and
    otherwise drawn from [0, 1). Maps are compared as they are shown, each scaled to [0, 1].
    """
    import onnxruntime

    size = network.pixels.shape[-1]
    generator = torch.Generator().manual_seed(batch)
    inputs = [
        torch.rand(batch, 3, size, size, generator=generator) * 4 - 2,
        torch.arange(-1, batch - 1),
    ]
    if network.uint8 is not None:
        inputs[0] = ((inputs[0] + 2) * 63).to(torch.uint8)
    for example in [*network.inputs.values()][2:]:
        painted = torch.rand(batch, *example.shape[1:], generator=generator)
        painted[0] = torch.nan
        inputs.append(painted)
    expected = network(*inputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
    values = {name: value.numpy() for name, value in zip(network.inputs, inputs, strict=True)}
    names = [one.name for one in session.get_outputs()]
    known = {one.name for one in session.get_inputs()}
    found = session.run(names, {name: value for name, value in values.items() if name in known})
    far: dict[str, float] = {}
    for name, one in zip(names, found, strict=True):
        own = expected[name].numpy()
        if name != "logits" and not name.startswith("attention/"):
            one, own = _scaled(one), _scaled(own)
        far[name] = float(abs(one - own).max())
    return far


def _scaled(maps: Array) -> Array:
    """(N, h, w), each map scaled to [0, 1]; zeros where it is flat."""
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1)

"""One graph of a network's answer, its attention and its CAMs, forward and backward pass alike.

`cams` itself runs once with proxies in the place of pixels and targets, so that whatever it does
becomes the graph: no layer and no method is written a second time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.nn.attention import SDPBackend, sdpa_kernel

from vggviz.cam import METHODS, CAMs, Method, cams, check_methods
from vggviz.export.decompositions import decompositions
from vggviz.export.eigen import eigencam, eigengradcam
from vggviz.hooks import Finding
from vggviz.hooks.capture import TapReading
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.types import Error, Grid, Kind

__all__ = ["Attention", "ExportError", "Traceable"]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
BATCH = 2  # of the example: sizes 0 and 1 are taken for constants
SPECS: Mapping[str, Method] = {
    **METHODS,
    "eigencam": replace(METHODS["eigencam"], function=eigencam),
    "eigengradcam": replace(METHODS["eigengradcam"], function=eigengradcam),
}


class ExportError(Error, ValueError):
    """A network, method or operator that no file can hold."""


@dataclass(frozen=True, slots=True)
class Attention:
    """What one attention output holds: weights (N, *shape) of a kind, `path` the module that
    computes them, and the grids of `AttentionRecord`."""

    path: str
    kind: Kind
    shape: tuple[int, ...]
    grid: Grid
    keys: Grid | None


class Traceable:
    """A copy of `model` as a function of tensors, for pictures of `size` × `size` pixels.

    `layers` are module paths by stage, `methods` keys of `METHODS`. With `uint8` the pixels are
    RGB from 0 to 255, which it normalises; with `attention_in` attention is an input, too.
    `attention` describes the attention outputs by name; `painted` are module path and kind of those
    that are inputs as well, by input name: all but several of a kind in one module.

    Raises ExportError for a method that runs the network many times, and as `cams`.
    """

    def __init__(
        self,
        model: Network,
        size: int,
        layers: Mapping[str, str],
        methods: Sequence[str],
        *,
        uint8: Preprocess | None = None,
        attention_in: bool = False,
    ) -> None:
        for method in check_methods(methods):
            if METHODS[method].slow:
                known = ", ".join(key for key, spec in METHODS.items() if not spec.slow)
                raise ExportError("export_slow", method=METHODS[method].title, known=known)
        second = any(METHODS[method].needs == "curvature" for method in methods)
        self.model = plain(model, second_derivatives=second)
        self.layers, self.methods, self.uint8 = layers, methods, uint8
        generator = torch.Generator().manual_seed(0)
        noise = torch.rand(BATCH, 3, size, size, generator=generator)
        self.pixels = noise if uint8 is None else (noise * 255).to(torch.uint8)
        self.target = torch.zeros(BATCH, dtype=torch.int64)
        readings = _readings(self._cams(self.pixels, self.target, METHODS), layers)
        self.attention = {
            name: Attention(path, one.kind, tuple(one.weights.shape[1:]), one.grid, one.keys)
            for name, (path, one) in readings.items()
        }
        places = Counter((one.path, one.kind) for one in self.attention.values())
        self.painted = {
            name.replace("attention", "attention_in", 1): (one.path, one.kind)
            for name, one in self.attention.items()
            if attention_in and places[one.path, one.kind] == 1
        }

    @property
    def inputs(self) -> dict[str, Tensor]:
        """An example of each input by name."""
        shapes = {(one.path, one.kind): one.shape for one in self.attention.values()}
        return {
            "pixels": self.pixels,
            "target": self.target,
            **{
                name: torch.full((BATCH, *shapes[place]), torch.nan)
                for name, place in self.painted.items()
            },
        }

    def __call__(self, *inputs: Tensor, specs: Mapping[str, Method] = METHODS) -> dict[str, Tensor]:
        """The outputs by name: `logits` (N, K), `attention/{stage}/{kind}` (N, ...) and
        `{method}/{stage}` (N, h, w), raw, for the values of `inputs` in their order."""
        pixels, target, *weights = inputs
        painted = dict(zip(self.painted.values(), weights, strict=True))

        def change(path: str, kind: Kind, own: Tensor) -> Tensor:
            given = painted.get((path, kind))
            return own if given is None else torch.where(given.isnan(), own, given)

        with self.model.intervene(change) if painted else nullcontext():
            found = self._cams(pixels, target, specs)
        readings = _readings(found, self.layers)
        return {
            "logits": found.logits,
            **{name: one.weights for name, (_, one) in readings.items()},
            **{
                f"{method}/{stage}": found.maps[path, method][0]
                for method in self.methods
                for stage, path in self.layers.items()
                if (path, method) in found.maps
            },
        }

    def graph(self) -> tuple[GraphModule, tuple[str, ...]]:
        """The traced graph, whose batch is of any size, and the names of its outputs."""
        names: list[str] = []

        def traced(*inputs: Tensor) -> list[Tensor]:
            outputs = self(*inputs, specs=SPECS)
            names[:] = outputs
            return [value.clone() for value in outputs.values()]  # two may be the same tensor

        fake = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
        inputs = [
            fake.from_tensor(
                value,
                symbolic_context=StatelessSymbolicContext(
                    [DimDynamic.DYNAMIC, *[DimDynamic.STATIC] * (value.ndim - 1)]
                ),
            )
            for value in self.inputs.values()
        ]
        trace: Callable[..., GraphModule] = make_fx(
            traced,
            decomposition_table=decompositions(),
            tracing_mode="symbolic",
            _allow_non_fake_inputs=True,
        )
        with sdpa_kernel(SDPBackend.MATH):  # the fused ones have no backward pass in ONNX
            graph = trace(*inputs)
        return _without_aliases(graph), tuple(names)

    def _cams(self, pixels: Tensor, target: Tensor, specs: Mapping[str, Method]) -> CAMs:
        how = self.uint8
        if how is not None:
            mean, std = (torch.tensor(three)[:, None, None] for three in (how.mean, how.std))
            pixels = (pixels.to(torch.float32) / 255 - mean) / std

        def targets(logits: Tensor) -> Tensor:
            return torch.where(target < 0, logits.argmax(1), target)[None]

        layers = [*self.layers.values()]
        return cams(self.model, pixels, layers, self.methods, targets, specs=specs)


def plain(model: Network, *, second_derivatives: bool = False) -> Network:
    """A copy on the CPU, frozen, in float32, that changes nothing in place, whose weights lie as
    their shapes say, and whose batch norms are a factor and a summand: what else there is stays in
    the trace as operators that ONNX lacks, or that fix the batch. For `second_derivatives` its
    grouped convolutions are sums of matrix products."""
    model = deepcopy(model).requires_grad_(False).to("cpu", torch.float32).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
        if type(module) in NORMS and module.running_mean is not None:
            module.forward = _affine(module)  # type: ignore[arg-type]
        if second_derivatives and isinstance(module, nn.Conv2d) and module.groups > 1:
            module._conv_forward = _by_taps(module)  # type: ignore[assignment, method-assign]
    return model


def _by_taps(conv: nn.Conv2d) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """What a grouped convolution computes of (x, weight, bias), as a sum of matrix products, one
    for each position (i, j) of the kernel: y = Σ_ij W_ij x_ij, x_ij the features that lie there,
    by group. The second derivative of PyTorch's own fixes the batch."""
    groups, (down, across), (high, wide) = conv.groups, conv.stride, conv.dilation
    pad = conv._reversed_padding_repeated_twice
    how = "constant" if conv.padding_mode == "zeros" else conv.padding_mode

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.pad(x, pad, how)
        kernel = weight.shape[2:]
        height = (x.shape[2] - high * (kernel[0] - 1) - 1) // down + 1
        width = (x.shape[3] - wide * (kernel[1] - 1) - 1) // across + 1
        weights = weight.unflatten(0, (groups, -1))  # (g, C'/g, C/g, h, w)
        rows = torch.arange(height) * down
        columns = torch.arange(width) * across
        products: list[Tensor] = []
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                part = x[:, :, rows + i * high][..., columns + j * wide]
                parts = part.unflatten(1, (groups, -1)).flatten(3)  # (B, g, C/g, N)
                products.append(weights[..., i, j] @ parts)
        y: Tensor = sum(products, products[0].new_zeros(())).flatten(1, 2)
        y = y.unflatten(2, (height, width))
        return y if bias is None else y + bias[:, None, None]

    return forward


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Callable[[Tensor], Tensor]:
    """What a batch norm does in evaluation mode: x · g / √(v + ε) + (β − m · g / √(v + ε))."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    factor = factor if norm.weight is None else factor * norm.weight
    summand = -norm.running_mean * factor
    summand = summand if norm.bias is None else summand + norm.bias
    shaped = {  # by the axes of x (B, C, ...)
        axes: tuple(one.float().reshape(-1, *[1] * (axes - 2)) for one in (factor, summand))
        for axes in (2, 3, 4)
    }
    return lambda x: x * shaped[x.ndim][0] + shaped[x.ndim][1]


def _readings(
    found: CAMs, layers: Mapping[str, str]
) -> dict[str, tuple[str, TapReading | Finding]]:
    """Module path and weights of all attention at the layers, by output name."""
    readings: dict[str, tuple[str, TapReading | Finding]] = {}

    def add(stage: str, path: str, reading: TapReading | Finding) -> None:
        name = f"attention/{stage}/{reading.kind}"
        count = sum(one == name or one.startswith(f"{name}.") for one in readings)
        readings[f"{name}.{count + 1}" if count else name] = path, reading

    for stage, layer in layers.items():
        for path, tap in found.taps.items():
            if path.startswith(f"{layer}."):
                add(stage, path, tap)
        for one in found.findings.get(layer, ()):
            add(stage, one.place.path, one)
    return readings


def _without_aliases(graph: GraphModule) -> GraphModule:
    """The graph without nodes that only pass their input on, or whose values nobody uses."""
    same: tuple[Any, ...] = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)
    for node in graph.graph.nodes:
        if node.target in same:
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph

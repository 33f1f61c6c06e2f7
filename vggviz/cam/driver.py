"""The CAM engine: one forward and one partial backward pass for all layers and methods."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vggviz.cam.interface import Targets, check_maps, check_outputs, class_indices, logits_of
from vggviz.cam.methods import METHODS, check_methods
from vggviz.hooks.capture import TapReading, Trace, capture, evaluating
from vggviz.hooks.tap import Tap
from vggviz.platform.forking import compute_after_fork

__all__ = ["CAMs", "cams"]

Gradients: TypeAlias = Sequence[Tensor | None]
"""(T, B, ...) for each point; None where the logits do not depend on it."""


@dataclass(frozen=True, slots=True, eq=False)
class CAMs:
    """The results of one pass over a batch of B images.

    `logits` (B, K); the explained `targets` (T, B); the readings of all `taps` by path; raw `maps`
    (T, B, h, w) by (layer path, method); the `outputs` (B, ...) of the watched modules by path.
    `order` lists the paths of layers and watched modules in the order in which they ran.
    """

    logits: Tensor
    targets: Tensor
    taps: dict[str, TapReading]
    maps: dict[tuple[str, str], Tensor]
    outputs: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    order: tuple[str, ...] = ()

    def of(self, row: int) -> CAMs:
        """The results of one image of the batch, as a batch of one.

        All tensors are copies, so that keeping or pickling one image's results does not keep or
        send those of the whole batch.
        """

        def one(values: Tensor, axis: int = 0) -> Tensor:
            return values.narrow(axis, row, 1).clone()

        return CAMs(
            one(self.logits),
            one(self.targets, 1),
            {path: replace(tap, weights=one(tap.weights)) for path, tap in self.taps.items()},
            {key: one(values, 1) for key, values in self.maps.items()},
            {path: one(values) for path, values in self.outputs.items()},
            self.order,
        )


def cams(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str],
    methods: Sequence[str] = ("gradcam",),
    targets: Targets = None,
    *,
    watch: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CAMs:
    """The raw maps of `methods` at `layers` of any `model` for a batch of pictures.

    `images` (B, 3, H, W) as the model takes them; the model returns logits (B, K), or a mapping,
    tuple or object that holds them (see `logits_of`). `layers` are module paths whose output is
    (B, C, h, w), or a tuple whose first member is (see `capture`). `methods` are keys of `METHODS`;
    each is computed by its own function (see `Method`). `targets` is a class index, or indices
    (T,) for all images or (T, B); None, also as one of several, is each image's predicted class.
    `watch` are module paths whose outputs are returned as well. All results are detached. A method
    that needs attention has maps at the layers that hold a tap over positions, and nowhere else.
    `progress(done, total)` is called by methods that need many forward passes.

    Outputs (B, h, w, C) are refused where the image's proportions tell them from (B, C, h, w).
    Where C happens to fit (b : c of an output (B, a, b, c) as H : W, such as 96 channels on 96 x 96
    positions) they cannot be told apart, nor can attention (B, heads, N, N): such maps are
    meaningless.

    The model is left as it was: training flags, gradients, hooks. It runs in evaluation mode, and
    in its own precision even inside `torch.autocast`; `torch.inference_mode` may be on.
    Raises ValueError for an unknown layer or method, a layer that takes no part in the forward
    pass, is a tap, on which the logits do not depend, or whose output is no (B, C, h, w) tensor,
    for a model without logits, one made inside `torch.inference_mode`, a target that is no class,
    and for a method that needs attention where no layer has any; TypeError for a layer whose output
    holds no tensor.
    """
    needs = {METHODS[name].needs: name for name in check_methods(methods)}
    taps_inside = _spatial_taps(model, layers) if "attention" in needs else {}
    if "attention" in needs and not taps_inside:
        name = needs["attention"]
        raise ValueError(f"{name!r} needs attention over positions at a wanted layer")
    graph = [*(layers if "gradient" in needs else ()), *taps_inside.values()]

    def predict(images: Tensor) -> Tensor:
        return logits_of(model(images), len(images))

    compute_after_fork()
    with _default_mode(images.device), evaluating(model), torch.no_grad():
        images = images.clone() if images.is_inference() else images
        if graph and _made_in_inference_mode(model):
            raise ValueError(
                "the model was made inside torch.inference_mode(), where nothing has gradients: "
                "make it outside, or give copy.deepcopy(model)"
            )
        with capture(model, [*layers, *watch], graph=graph) as trace:
            logits = predict(images)
            check_outputs(trace, [*layers, *watch])
            check_maps(trace, layers, images)
            classes = class_indices(targets, logits.detach())
            gradients = _gradients(trace, graph, logits, classes)
        maps: dict[tuple[str, str], Tensor] = {}
        for layer, name in product(layers, methods):
            method, output = METHODS[name], trace.outputs[layer].detach()
            if method.needs == "gradient":
                found = method.function(_widened(output), _widened(gradients[layer]))
            elif method.needs == "activation":
                found = method.function(_widened(output)).expand(len(classes), -1, -1, -1)
            elif method.needs == "passes":
                found = torch.stack(
                    [
                        method.function(predict, *one, progress=progress)
                        for one in zip(images, output, classes.T, strict=True)
                    ],
                    1,
                )  # B × (T, h, w) -> (T, B, h, w)
            elif layer in taps_inside:
                tap = taps_inside[layer]
                reading, gradient = trace.taps[tap], _widened(gradients[tap])
                weights, grid = _widened(reading.weights.detach()), reading.keys or reading.grid
                found = method.function(weights, gradient, reading.kind, grid)
            else:
                continue  # no attention over positions here
            maps[layer, name] = found
    taps = {
        path: replace(reading, weights=reading.weights.detach())
        for path, reading in trace.taps.items()
    }
    outputs = {path: trace.outputs[path].detach() for path in watch}
    return CAMs(logits.detach(), classes, taps, maps, outputs, tuple(trace.outputs))


@contextmanager
def _default_mode(device: torch.device) -> Generator[None, None, None]:
    """Switch inference mode and autocast off, whatever the caller has on."""
    kind = device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    with (
        torch.inference_mode(False),
        torch.autocast(kind, enabled=False) if casts else nullcontext(),
    ):
        yield


def _made_in_inference_mode(model: nn.Module) -> bool:
    return any(value.is_inference() for value in chain(model.parameters(), model.buffers()))


def _gradients(
    trace: Trace, graph: Sequence[str], logits: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """∂ logit of the target / ∂ each point of `graph`: (T, B, ...) by path."""
    if not graph:
        return {}
    points = [
        trace.taps[path].weights if path in trace.taps else trace.outputs[path] for path in graph
    ]
    missing = "the logits have no gradient at layer {!r}: they do not depend on it, or are detached"
    if not logits.requires_grad:
        raise ValueError(missing.format(graph[0]))
    chosen = torch.nn.functional.one_hot(targets, logits.shape[1]).to(logits)  # (T, B, K)
    backward = _batched if logits.is_cuda and len(chosen) > 1 else _one_by_one
    found = backward(logits, points, chosen)
    gradients: dict[str, Tensor] = {}
    for path, gradient in zip(graph, found, strict=True):
        if gradient is None:
            raise ValueError(missing.format(path))
        gradients[path] = gradient
    return gradients


def _batched(logits: Tensor, points: Sequence[Tensor], chosen: Tensor) -> Gradients:
    """One backward pass for all T classes."""
    return torch.autograd.grad(logits, points, chosen, is_grads_batched=True, allow_unused=True)


def _one_by_one(logits: Tensor, points: Sequence[Tensor], chosen: Tensor) -> Gradients:
    """One backward pass for each class through the same graph.

    On a CPU, where a batched pass has slower convolutions, this takes a fifth less time for three
    classes. Images do not mix in evaluation mode, so one pass serves the whole batch.
    """
    each = [
        torch.autograd.grad(
            logits, points, one, retain_graph=number < len(chosen) - 1, allow_unused=True
        )
        for number, one in enumerate(chosen)
    ]  # the last pass frees the graph
    if len(each) == 1:
        return [None if gradient is None else gradient[None] for gradient in each[0]]
    return [
        None if gradients[0] is None else torch.stack(gradients)
        for gradients in zip(*each, strict=True)
    ]


def _spatial_taps(model: nn.Module, layers: Sequence[str]) -> dict[str, str]:
    """By layer path, the path of the tap over positions inside that layer, where there is one."""
    return {
        layer: path
        for layer in layers
        for path, module in model.named_modules()
        if isinstance(module, Tap)
        and module.kind != "channel"
        and (path == layer or path.startswith(f"{layer}."))
    }


def _widened(values: Tensor) -> Tensor:
    """16-bit floats as float32, since their sums would be rounded to 16 bits once more."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values

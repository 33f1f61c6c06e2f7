"""The CAM engine: one forward and one partial backward pass for all layers and methods."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain, product
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vggviz.cam.interface import Targets, check_maps, check_outputs, class_indices, logits_of
from vggviz.cam.methods import METHODS, check_methods
from vggviz.cam.results import CAMs
from vggviz.hooks import Finding, Place, finding
from vggviz.hooks.capture import TapReading, capture, evaluating
from vggviz.hooks.tap import Tap
from vggviz.networks import ForeignNetwork
from vggviz.platform.device import move_to
from vggviz.platform.forking import compute_after_fork
from vggviz.types import InputError

__all__ = ["cams"]

Point: TypeAlias = str | Place
"""Where a gradient is wanted: a layer or tap by its path, or a place of attention."""

Gradients: TypeAlias = Sequence[Tensor | None]
"""(T, B, ...) for each point; None where the logits do not depend on it."""


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
    `watch` are module paths whose outputs are returned as well. All is computed on the model's
    device; results are detached and on that of the images. A method
    that needs attention has maps at the layers that hold a tap over positions, and nowhere else.
    `progress(done, total)` is called by methods that need many forward passes.

    Of a `ForeignNetwork` the attention at `layers` is found in the same passes, takes the part of
    taps, and outputs (B, h, w, C) and (B, N, C) that it knows as maps are maps.

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
    foreign = model if isinstance(model, ForeignNetwork) else None
    tapped = _weighing_positions(model, layers) if "attention" in needs else {}
    if "attention" in needs and not tapped:
        name = needs["attention"]
        raise InputError("no_positions", method=name)
    graph: list[Point] = [*(layers if "gradient" in needs else ()), *tapped.values()]
    paths = [point for point in graph if isinstance(point, str)]
    cuts = [point for point in graph if isinstance(point, Place)]
    maps_of = {} if foreign is None else {name: foreign.maps.get(name) for name in layers}

    def as_map(layer: str, values: Tensor) -> Tensor:
        """(..., C, h, w) of a layer's output or its gradient."""
        layout = maps_of.get(layer)
        return values if layout is None else layout.to_map(values)

    def predict(images: Tensor) -> Tensor:
        return logits_of(model(images), len(images))

    compute_after_fork()
    home, images = images.device, move_to(model, images)
    with _default_mode(images.device), evaluating(model), torch.no_grad():
        images = images.clone() if images.is_inference() else images
        if graph and _made_in_inference_mode(model):
            raise ValueError(
                "the model was made inside torch.inference_mode(), where nothing has gradients: "
                "make it outside, or give copy.deepcopy(model)"
            )
        with (
            _found(foreign, cuts) as findings,
            capture(model, [*layers, *watch], graph=paths) as trace,
        ):
            logits = predict(images)
            check_outputs(trace, [*layers, *watch])
            check_maps(trace, [name for name in layers if maps_of.get(name) is None], images)
            classes = class_indices(targets, logits.detach())
            readings: dict[Point, TapReading | Finding] = dict(trace.taps.items())
            readings.update((found.place, found) for found in findings)
            points = {
                point: readings[point].weights if point in readings else trace.outputs[str(point)]
                for point in graph
            }
            gradients = _gradients(points, logits, classes)
        maps: dict[tuple[str, str], Tensor] = {}
        for layer, name in product(layers, methods):
            method, output = METHODS[name], as_map(layer, trace.outputs[layer].detach())
            if method.needs == "gradient":
                gradient = as_map(layer, _widened(gradients[layer]))
                found = method.function(_widened(output), gradient)
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
            elif layer in tapped:
                point = tapped[layer]
                reading, gradient = readings[point], _widened(gradients[point])
                weights, grid = _widened(reading.weights.detach()), reading.keys or reading.grid
                positions = reading.place.layout.positions if isinstance(reading, Finding) else None
                more = {} if positions is None else {"positions": positions}
                found = method.function(weights, gradient, reading.kind, grid, **more)
            else:
                continue  # no attention over positions here
            maps[layer, name] = found.to(home)
    taps = {
        path: replace(reading, weights=reading.weights.detach().to(home))
        for path, reading in trace.taps.items()
    }
    outputs = {path: trace.outputs[path].detach().to(home) for path in watch}
    order, here = tuple(trace.outputs), _by_layer(foreign, layers, findings, home)
    return CAMs(logits.detach().to(home), classes.to(home), taps, maps, outputs, order, here)


def _found(
    foreign: ForeignNetwork | None, cuts: Sequence[Place]
) -> AbstractContextManager[list[Finding]]:
    if foreign is None or not foreign.places:
        return nullcontext([])
    return finding(foreign, foreign.places, graph=cuts)


def _by_layer(
    foreign: ForeignNetwork | None,
    layers: Sequence[str],
    findings: Sequence[Finding],
    home: torch.device,
) -> dict[str, tuple[Finding, ...]]:
    """The findings at each layer, detached, on the device `home`."""
    there = {one.place: replace(one, weights=one.weights.detach().to(home)) for one in findings}
    return {
        layer: tuple(there[place] for place in foreign.attention[layer] if place in there)
        for layer in layers
        if foreign is not None and layer in foreign.attention
    }


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
    points: Mapping[Point, Tensor], logits: Tensor, targets: Tensor
) -> dict[Point, Tensor]:
    """∂ logit of the target / ∂ each tensor in `points`: (T, B, ...) by point."""
    if not points:
        return {}

    def missing(point: Point) -> ValueError:
        name = point.path if isinstance(point, Place) else point
        return InputError("no_gradient", layer=name)

    if not logits.requires_grad:
        raise missing(next(iter(points)))
    chosen = torch.nn.functional.one_hot(targets, logits.shape[1]).to(logits)  # (T, B, K)
    backward = _batched if logits.is_cuda and len(chosen) > 1 else _one_by_one
    found = backward(logits, [*points.values()], chosen)
    gradients: dict[Point, Tensor] = {}
    for point, gradient in zip(points, found, strict=True):
        if gradient is None:
            raise missing(point)
        gradients[point] = gradient
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


def _weighing_positions(model: nn.Module, layers: Sequence[str]) -> dict[str, Point]:
    """The tap inside each layer that weighs positions, or the place of attention, by layer path."""
    if isinstance(model, ForeignNetwork):
        places = {layer: model.position_weights(layer) for layer in layers}
        return {layer: place for layer, place in places.items() if place is not None}
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

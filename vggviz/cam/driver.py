"""The CAM engine: one forward and one partial backward pass for all layers and methods."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain, product

import torch
from torch import Tensor, nn

from vggviz.cam.captured import Captured
from vggviz.cam.gradients import Point, curvatures, gradients
from vggviz.cam.interface import Targets, check_maps, check_outputs, class_indices, logits_of
from vggviz.cam.methods import METHODS, Method, check_methods
from vggviz.cam.results import CAMs
from vggviz.cam.scores import logit
from vggviz.hooks import Finding, Place, finding
from vggviz.hooks.capture import TapReading, capture, evaluating
from vggviz.hooks.tap import Tap
from vggviz.networks import ForeignNetwork, Network
from vggviz.platform.device import move_to
from vggviz.platform.forking import compute_after_fork
from vggviz.types import POSITIONS, InputError

__all__ = ["cams"]


def cams(
    model: nn.Module,
    images: Tensor,
    layers: Sequence[str],
    methods: Sequence[str] = ("gradcam",),
    targets: Targets = None,
    *,
    watch: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    specs: Mapping[str, Method] = METHODS,
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
    `progress(done, total)` is called by methods that need many forward passes. `specs` may put
    other functions in the place of the methods' own.

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
    needs = {specs[name].needs: name for name in check_methods(methods)}
    foreign = model if isinstance(model, ForeignNetwork) else None
    tapped = _weighing_positions(model, layers) if "attention" in needs else {}
    if "attention" in needs and not tapped:
        name = needs["attention"]
        raise InputError("no_positions", method=name)
    stages = list(layers)
    if "layers" in needs and isinstance(model, Network):
        stages = [model.path(name) for name in model.stages]
    places = list(dict.fromkeys((*layers, *stages)))
    differentiated = {"gradient", "curvature", "layers"} & needs.keys()
    graph: list[Point] = [*(places if differentiated else ()), *tapped.values()]
    paths = [point for point in graph if isinstance(point, str)]
    cuts = [point for point in graph if isinstance(point, Place)]
    layouts = {} if foreign is None else {name: foreign.maps.get(name) for name in places}
    scores = list(dict.fromkeys(specs[name].score for name in methods))

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
            capture(model, [*places, *watch], graph=paths) as trace,
        ):
            logits = logits_of(model(images), images.shape[0])
            check_outputs(trace, [*places, *watch])
            check_maps(trace, [name for name in places if layouts.get(name) is None], images)
            classes = class_indices(targets, logits.detach())
            readings: dict[Point, TapReading | Finding] = dict(trace.taps.items())
            readings.update((found.place, found) for found in findings)
            points = {
                point: readings[point].weights if point in readings else trace.outputs[str(point)]
                for point in graph
            }
            curved = {
                specs[name].score: curvatures(
                    {layer: trace.outputs[layer] for layer in layers},
                    *(logits, classes, specs[name].score),
                )
                for name in methods
                if specs[name].needs == "curvature"
            }
            slopes = dict(zip(scores, gradients(points, logits, classes, scores), strict=True))
        outputs = {layer: output.detach() for layer, output in trace.outputs.items()}
        captured = Captured(
            *(model, images, classes, outputs, trace.runs, layouts, slopes, curved, tapped),
            *(readings, stages),
        )
        maps: dict[tuple[str, str], Tensor] = {}
        for layer, name in product(layers, methods):
            if (found := captured.map_of(specs[name], layer, progress)) is not None:
                maps[layer, name] = found.to(home)
        contributions = {
            layer: captured.contribution(layer, logit).to(home)
            for layer in layers
            if layer in slopes.get(logit, {})
        }
    taps = {
        path: replace(reading, weights=reading.weights.detach().to(home))
        for path, reading in trace.taps.items()
        if foreign is None  # else they are among the findings
    }
    watched = {path: outputs[path].to(home) for path in watch}
    here = _by_layer(foreign, layers, findings, home)
    logits, classes = logits.detach().to(home), classes.to(home)
    return CAMs(logits, classes, taps, maps, watched, tuple(outputs), here, contributions)


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
        and module.kind in POSITIONS
        and (path == layer or path.startswith(f"{layer}."))
    }

"""One forward and one partial backward pass: every wanted layer and method at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vggviz.cam.formulas import attention_gradient, hirescam, token_gradient
from vggviz.cam.interface import Targets, check_maps, check_seen, class_indices, logits_of
from vggviz.cam.methods import METHODS, known
from vggviz.hooks.capture import TapReading, Trace, capture, evaluating
from vggviz.hooks.tap import Tap
from vggviz.platform.forking import compute_after_fork

__all__ = ["CAMs", "cams"]

Gradients: TypeAlias = Sequence[Tensor | None]
"""(T, B, ...) for each point; None where the logits do not depend on it."""


@dataclass(frozen=True, slots=True, eq=False)
class CAMs:
    """What one pass gave: `logits` (B, K), the `targets` (T, B) that were explained, the taps'
    readings by path, raw maps (T, B, H, W) by (layer path, method), and `outputs` (B, ...) by the
    path of each module that was to be watched. `order` are the paths of layers and watched modules
    in the order in which they ran."""

    logits: Tensor
    targets: Tensor
    taps: dict[str, TapReading]
    maps: dict[tuple[str, str], Tensor]
    outputs: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    order: tuple[str, ...] = ()

    def of(self, row: int) -> CAMs:
        """The results of one picture of the batch, as a batch of one: copies, which are not held
        in one block of memory with those of the other pictures, nor sent with them."""

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
    tuple or object in which they are (see `logits_of`). `layers` are module paths whose output is
    (B, C, h, w), or a tuple whose first member is (see `capture`). `targets` is a class index, or
    indices (T,) for all pictures or (T, B); None, also as one of several, is each picture's
    likeliest class. All results are detached. 'attention*gradient' is given where a layer holds a
    tap that weighs positions, and nowhere else. `watch` are module paths whose outputs are wanted
    as well. `progress` follows the methods that need many forward passes (Score-CAM).

    Outputs (B, h, w, C) are refused where the picture's proportions show them; where C happens to
    fit (b : c of an output (B, a, b, c) as H : W, such as 96 channels on 96 x 96 positions) they
    cannot be told from (B, C, h, w), nor can attention (B, heads, N, N): their maps make no sense.

    The model is left as it was: training flags, gradients, hooks. It runs in evaluation mode, and
    in its own precision even inside `torch.autocast`; `torch.inference_mode` may be on.
    Raises ValueError for an unknown layer or method, a layer that takes no part in the forward
    pass, is a tap, on which the logits do not depend, or whose output is no (B, C, h, w) tensor,
    for a model without logits, one made inside `torch.inference_mode`, a target that is no class,
    and where 'attention*gradient' finds nowhere to be; TypeError for a layer whose output holds no
    tensor.
    """
    needs = {METHODS[name].needs for name in known(methods)}
    tapped = _taps_of(model, layers) if "attention" in needs else {}
    if "attention" in needs and not tapped:
        raise ValueError("'attention*gradient' needs attention over positions at a wanted layer")
    graph = [*(layers if "gradient" in needs else ()), *tapped.values()]

    def predict(images: Tensor) -> Tensor:
        return logits_of(model(images), len(images))

    compute_after_fork()
    with _unaffected(images.device), evaluating(model), torch.no_grad():
        images = images.clone() if images.is_inference() else images
        if graph and _made_in_inference_mode(model):
            raise ValueError(
                "the model was made inside torch.inference_mode(), where nothing has gradients: "
                "make it outside, or give copy.deepcopy(model)"
            )
        with capture(model, [*layers, *watch], graph=graph) as trace:
            logits = predict(images)
            check_seen(trace, [*layers, *watch])
            check_maps(trace, layers, images)
            classes = class_indices(targets, logits.detach())
            gradients = _gradients(trace, graph, logits, classes)
        maps: dict[tuple[str, str], Tensor] = {}
        for layer in layers:
            activation = _full(trace.outputs[layer].detach())
            for name in methods:
                method = METHODS[name]
                if method.needs == "gradient":
                    maps[layer, name] = method.formula(activation, _full(gradients[layer]))
                elif method.needs == "activation":
                    maps[layer, name] = method.formula(activation).expand(len(classes), -1, -1, -1)
                elif method.needs == "attention" and layer in tapped:
                    tap = tapped[layer]
                    maps[layer, name] = _attention_map(trace.taps[tap], _full(gradients[tap]))
                elif method.needs == "passes":
                    seen = trace.outputs[layer].detach()
                    each = zip(images, seen, classes.T, strict=True)
                    found = [method.formula(predict, *one, progress=progress) for one in each]
                    maps[layer, name] = torch.stack(found, 1)  # B × (T, h, w) -> (T, B, h, w)
    taps = {
        path: replace(reading, weights=reading.weights.detach())
        for path, reading in trace.taps.items()
    }
    outputs = {path: trace.outputs[path].detach() for path in watch}
    return CAMs(logits.detach(), classes, taps, maps, outputs, tuple(trace.outputs))


@contextmanager
def _unaffected(device: torch.device) -> Generator[None, None, None]:
    """PyTorch as it is by default, though the caller be in inference mode or casts."""
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
    found = (_together if logits.is_cuda and len(chosen) > 1 else _in_turn)(logits, points, chosen)
    gradients: dict[str, Tensor] = {}
    for path, gradient in zip(graph, found, strict=True):
        if gradient is None:
            raise ValueError(missing.format(path))
        gradients[path] = gradient
    return gradients


def _together(logits: Tensor, points: Sequence[Tensor], chosen: Tensor) -> Gradients:
    """One backward pass for all T classes."""
    return torch.autograd.grad(logits, points, chosen, is_grads_batched=True, allow_unused=True)


def _in_turn(logits: Tensor, points: Sequence[Tensor], chosen: Tensor) -> Gradients:
    """One backward pass a class through the same graph: on a CPU, where the convolutions of a
    batched one are slower, a fifth less for three classes. Pictures don't mix in evaluation mode,
    so one pass serves the batch."""
    each = [
        torch.autograd.grad(
            logits, points, one, retain_graph=number < len(chosen) - 1, allow_unused=True
        )
        for number, one in enumerate(chosen)
    ]  # the graph goes with the last one
    if len(each) == 1:
        return [None if gradient is None else gradient[None] for gradient in each[0]]
    return [
        None if gradients[0] is None else torch.stack(gradients)
        for gradients in zip(*each, strict=True)
    ]


def _taps_of(model: nn.Module, layers: Sequence[str]) -> dict[str, str]:
    """The tap inside each layer that weighs positions, by layer path."""
    return {
        layer: path
        for layer in layers
        for path, module in model.named_modules()
        if isinstance(module, Tap)
        and module.kind != "channel"
        and (path == layer or path.startswith(f"{layer}."))
    }


def _attention_map(reading: TapReading, gradient: Tensor) -> Tensor:
    """(T, B, H, W), on the grid of the positions that are weighed."""
    weights = _full(reading.weights.detach())
    if reading.kind == "volume":
        return hirescam(weights, gradient)  # relu(Σ_c a ⊙ ∂y/∂a)
    if reading.kind == "token":
        assert reading.keys is not None
        received = token_gradient(weights, gradient)  # (T, B, M)
        return received.reshape(*received.shape[:2], *reading.keys)
    grid = attention_gradient(weights, gradient)
    return grid.reshape(*grid.shape[:2], *reading.grid)  # (T, B, N) or (T, B, H, W)


def _full(values: Tensor) -> Tensor:
    """In float32 where they came in 16 bits, whose sums would be rounded once more."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values

"""One forward and one partial backward pass: every wanted layer and method at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from vggviz.cam.formulas import attention_gradient, hirescam, token_gradient
from vggviz.cam.methods import METHODS, known
from vggviz.cam.perturbation import scorecam
from vggviz.capture import TapReading, Trace, capture, evaluating
from vggviz.taps import Tap

__all__ = ["CAMs", "cams"]


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
    targets: Tensor | None = None,
    *,
    watch: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CAMs:
    """The raw maps of `methods` at `layers` of any `model` for a batch of pictures.

    `images` (B, 3, H, W) as the model takes them; `layers` module paths whose output is
    (B, C, h, w); `targets` class indices (T,) for all pictures or (T, B), by default each
    picture's likeliest class. All results are detached. 'attention*gradient' is given where a
    layer holds a tap that weighs positions, and nowhere else. `watch` are module paths whose
    outputs are wanted as well. `progress` follows the methods that need many forward passes
    (Score-CAM).

    The model is left as it was: training flags, gradients, hooks. It runs in evaluation mode.
    Raises ValueError for an unknown layer or method, a layer that takes no part in the forward
    pass, is a tap, or whose output is no (B, C, h, w) tensor, a target that is no class, and where
    'attention*gradient' finds nowhere to be; TypeError for a layer whose output is not one tensor.
    """
    needs = {METHODS[name].needs for name in known(methods)}
    tapped = _taps_of(model, layers) if "attention" in needs else {}
    if "attention" in needs and not tapped:
        raise ValueError("'attention*gradient' needs attention over positions at a wanted layer")
    graph = [*(layers if "gradient" in needs else ()), *tapped.values()]
    paths = [*layers, *watch]
    with evaluating(model), capture(model, paths, graph=graph) as trace, torch.no_grad():
        logits: Tensor = model(images)
        _check(trace, layers, watch)
        targets = _targets(targets, logits.detach())
        gradients = _gradients(trace, graph, logits, targets)
    maps: dict[tuple[str, str], Tensor] = {}
    with torch.no_grad():
        for layer in layers:
            activation = _full(trace.outputs[layer].detach())
            for name in methods:
                method = METHODS[name]
                if method.needs == "gradient":
                    maps[layer, name] = method.formula(activation, _full(gradients[layer]))
                elif method.needs == "activation":
                    maps[layer, name] = method.formula(activation).expand(len(targets), -1, -1, -1)
                elif method.needs == "attention" and layer in tapped:
                    tap = tapped[layer]
                    maps[layer, name] = _attention_map(trace.taps[tap], _full(gradients[tap]))
    # These run the model again, so the hooks must be gone.
    for layer in layers:
        for name in methods:
            if METHODS[name].needs == "passes":
                with evaluating(model):
                    maps[layer, name] = torch.stack(
                        [
                            scorecam(model, image, activation, classes, progress=progress)
                            for image, activation, classes in zip(
                                images, trace.outputs[layer].detach(), targets.T, strict=True
                            )
                        ],
                        dim=1,
                    )  # B × (T, h, w) -> (T, B, h, w)
    taps = {
        path: replace(reading, weights=reading.weights.detach())
        for path, reading in trace.taps.items()
    }
    outputs = {path: trace.outputs[path].detach() for path in watch}
    return CAMs(logits.detach(), targets, taps, maps, outputs, tuple(trace.outputs))


def _gradients(
    trace: Trace, graph: Sequence[str], logits: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """∂ logit of the target / ∂ each point of `graph`: (T, B, ...) by path."""
    if not graph:
        return {}
    points = [
        trace.taps[path].weights if path in trace.taps else trace.outputs[path] for path in graph
    ]
    chosen = torch.nn.functional.one_hot(targets, logits.shape[1]).to(logits)  # (T, B, K)
    found = (_together if logits.is_cuda and len(chosen) > 1 else _in_turn)(logits, points, chosen)
    return dict(zip(graph, found, strict=True))


def _together(logits: Tensor, points: Sequence[Tensor], chosen: Tensor) -> Sequence[Tensor]:
    """One backward pass for all T classes."""
    return torch.autograd.grad(logits, points, chosen, is_grads_batched=True)


def _in_turn(logits: Tensor, points: Sequence[Tensor], chosen: Tensor) -> Sequence[Tensor]:
    """One backward pass a class through the same graph: on a CPU, where the convolutions of a
    batched one are slower, a fifth less for three classes. Pictures don't mix in evaluation mode,
    so one pass serves the batch."""
    *others, last = chosen
    each = [torch.autograd.grad(logits, points, one, retain_graph=True) for one in others]
    each.append(torch.autograd.grad(logits, points, last))  # the graph goes with it
    if not others:
        return [gradient[None] for gradient in each[0]]
    return [torch.stack(gradients) for gradients in zip(*each, strict=True)]


def _targets(given: Tensor | None, logits: Tensor) -> Tensor:
    """(T, B) class indices."""
    if logits.ndim != 2:
        raise ValueError(f"the model must return logits (B, K), not {tuple(logits.shape)}")
    batch, classes = logits.shape
    if given is None:
        return logits.argmax(1)[None]
    if given.ndim == 1:
        given = given[:, None].expand(-1, batch)
    if given.shape[1:] != (batch,) or len(given) == 0:
        raise ValueError(f"targets must be (T,) or (T, {batch}), not {tuple(given.shape)}")
    if int(given.min()) < 0 or int(given.max()) >= classes:
        raise ValueError(f"a target must be a class from 0 to {classes - 1}")
    return given


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


def _check(trace: Trace, layers: Sequence[str], watch: Sequence[str]) -> None:
    for layer in (*layers, *watch):
        if layer not in trace.outputs:
            raise ValueError(f"layer {layer!r} took no part in the forward pass, or is a tap")
    for layer in layers:
        if trace.outputs[layer].ndim != 4:
            shape = tuple(trace.outputs[layer].shape)
            raise ValueError(f"layer {layer!r} has no map: its output is {shape}")

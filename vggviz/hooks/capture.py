"""What happens inside a network during one forward pass. The only place where hooks exist."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

from vggviz.hooks.tap import Tap
from vggviz.types import Grid, Kind

__all__ = ["Change", "TapReading", "Trace", "bypass", "capture", "evaluating", "intervene"]

Change = Callable[[str, Kind, Tensor], Tensor]
Hook = Callable[..., object]


@dataclass(frozen=True, slots=True, eq=False)
class TapReading:
    """What one tap showed for a batch: `weights` (B, ...), alive in the autograd graph if any."""

    kind: Kind
    weights: Tensor
    grid: Grid
    keys: Grid | None


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What one forward pass left behind, by module path: outputs (B, ...) and taps' readings."""

    outputs: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    taps: dict[str, TapReading] = field(default_factory=dict[str, TapReading])


_watching: ContextVar[Trace | None] = ContextVar("vggviz_watching", default=None)
_changing: ContextVar[tuple[object, ...]] = ContextVar("vggviz_changing", default=())
# PyTorch numbers hooks by a counter that it reads and raises in two steps. Two threads that
# register at once could draw the same number, and one's hook would take the other's place.
_registering = Lock()


@contextmanager
def capture(
    model: nn.Module, paths: Iterable[str] = (), *, graph: Sequence[str] = ()
) -> Generator[Trace, None, None]:
    """Watch the forward pass of `model` inside the `with`: outputs at `paths`, and every tap.

    Run the forward pass under `torch.no_grad()`: the autograd graph begins at the first module
    named in `graph` (module or tap paths) that runs, and nothing before it is recorded, so that
    gradients with respect to these cost only the part of the network above the lowest.

    What is captured belongs to the calling context: the same model may serve others at the same
    time. Outputs are not copied, except where the model has ReLUs that work in place: these would
    overwrite them.

    Of a module that runs several times the last output is kept.

    Raises ValueError for a path that is no module of `model`, TypeError for an output that is not
    one tensor, and RuntimeError, when the block ends, where a captured output was overwritten
    nevertheless.
    """
    modules = dict(model.named_modules())
    taps = {path: module for path, module in modules.items() if isinstance(module, Tap)}
    wanted = _known(modules, (path for path in (*paths, *graph) if path not in taps))
    copied = any(getattr(module, "inplace", False) for module in modules.values())
    trace, begins = Trace(), frozenset(graph)
    versions: dict[str, int] = {}

    def alive(path: str, output: Tensor) -> Tensor:
        """The output itself where gradients flow through it already, or the leaf of a graph."""
        if output.requires_grad or path not in begins:
            return output
        torch.set_grad_enabled(True)
        return output.detach().requires_grad_(True)

    def see_output(path: str, output: object) -> object:
        if _watching.get() is not trace:
            return None  # another's forward pass through the same model
        if not isinstance(output, Tensor):
            raise TypeError(f"the output of {path!r} is not one tensor")
        kept = alive(path, output)
        trace.outputs[path] = kept
        versions[path] = kept._version
        return kept.clone() if copied else kept

    def see_tap(path: str, tap: Tap, args: tuple[Any, ...], output: Tensor) -> object:
        if _watching.get() is not trace:
            return None
        kept = alive(path, output)
        trace.taps[path] = TapReading(tap.kind, kept, args[1], args[2] if len(args) > 2 else None)
        return kept

    with _registering:
        handles = [
            module.register_forward_hook(lambda _, __, output, path=path: see_output(path, output))
            for path, module in wanted.items()
        ] + [
            tap.register_forward_hook(
                lambda _, args, output, path=path, tap=tap: see_tap(path, tap, args, output)
            )
            for path, tap in taps.items()
        ]
    token = _watching.set(trace)
    grad_enabled = torch.is_grad_enabled()
    try:
        yield trace
        for path, version in versions.items():
            if trace.outputs[path]._version != version:
                raise RuntimeError(f"the output of {path!r} was overwritten in place")
    finally:
        torch.set_grad_enabled(grad_enabled)
        _watching.reset(token)
        for handle in handles:
            handle.remove()


@contextmanager
def intervene(model: nn.Module, change: Change) -> Generator[None, None, None]:
    """Put other attention weights in the place of what every tap of `model` shows.

    Inside the `with`, a tap returns `change(path, kind, weights)` instead of its `weights`
    (B, ...), so that the network works with those. A `capture` entered inside sees the changed
    weights, one entered before sees the network's own. Interventions nest: the inner one changes
    what the outer one left. As with `capture`, only the calling context's forward passes are
    changed, and the model may serve others at the same time.

    `change` must return a new tensor of the same shape; another shape raises ValueError.
    """

    def replaced(path: str, tap: Tap, output: Tensor) -> Tensor:
        changed = change(path, tap.kind, output)
        if changed.shape != output.shape:
            raise ValueError(
                f"the weights of {path!r} must keep their shape {tuple(output.shape)}, "
                f"not become {tuple(changed.shape)}"
            )
        return changed

    hooks = [
        (tap, lambda _, __, output, path=path, tap=tap: replaced(path, tap, output))
        for path, tap in model.named_modules()
        if isinstance(tap, Tap)
    ]
    with _changed(hooks):
        yield


@contextmanager
def bypass(model: nn.Module, paths: Iterable[str]) -> Generator[None, None, None]:
    """Let the modules at `paths` pass their input on unchanged: y = x.

    With the paths of its attention stages, `model` answers inside the `with` as it would without
    attention. As with `intervene`, only the calling context's forward passes are changed.

    Raises ValueError for a path that is no module of `model`.
    """
    modules = _known(dict(model.named_modules()), paths).values()
    with _changed([(module, lambda _, args, __: args[0]) for module in modules]):
        yield


@contextmanager
def _changed(
    hooks: Sequence[tuple[nn.Module, Hook]],
) -> Generator[None, None, None]:
    """Forward hooks that give other outputs, in the calling context's forward passes only."""
    mine = object()

    def here(hook: Hook, *args: object) -> object:
        return hook(*args) if any(active is mine for active in _changing.get()) else None

    with _registering:
        handles = [module.register_forward_hook(partial(here, hook)) for module, hook in hooks]
    token = _changing.set((*_changing.get(), mine))
    try:
        yield
    finally:
        _changing.reset(token)
        for handle in handles:
            handle.remove()


def _known(modules: Mapping[str, nn.Module], paths: Iterable[str]) -> dict[str, nn.Module]:
    """The modules at these paths. Raises ValueError, naming those that are not there."""
    wanted = dict.fromkeys(paths)
    unknown = [path for path in wanted if path not in modules]
    if unknown:
        raise ValueError(f"the model has no module {', '.join(map(repr, unknown))}")
    return {path: modules[path] for path in wanted}


@contextmanager
def evaluating(model: nn.Module) -> Generator[None, None, None]:
    """Evaluation mode inside the `with`; each module's own training flag comes back after it.

    Threads that share a model must share it in evaluation mode: flags are the model's, not theirs.
    """
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True

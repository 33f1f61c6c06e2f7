"""What happens inside a network during one forward pass. The only place where hooks exist."""

from __future__ import annotations

import copy
import inspect
import os
from collections import Counter
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

__all__ = [
    "Change",
    "TapReading",
    "Trace",
    "bypass",
    "capture",
    "evaluating",
    "intervene",
    "replace_output",
]

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
    """What one forward pass left behind, by module path: outputs (B, ...) in the order in which
    they were returned last, how often each module ran, and taps' readings."""

    outputs: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    runs: Counter[str] = field(default_factory=Counter[str])
    taps: dict[str, TapReading] = field(default_factory=dict[str, TapReading])


_watching: ContextVar[Trace | None] = ContextVar("vggviz_watching", default=None)
_changing: ContextVar[tuple[object, ...]] = ContextVar("vggviz_changing", default=())
# PyTorch numbers hooks by a counter that it reads and raises in two steps. Two threads that
# register at once could draw the same number, and one's hook would take the other's place.
_registering = Lock()
if hasattr(os, "register_at_fork"):  # a child must not find it held by a thread that it has not
    os.register_at_fork(
        before=_registering.acquire,
        after_in_parent=_registering.release,
        after_in_child=_registering.release,
    )
_TAP = inspect.signature(Tap.forward)


@contextmanager
def capture(
    model: nn.Module, paths: Iterable[str] = (), *, graph: Sequence[str] = ()
) -> Generator[Trace, None, None]:
    """Watch the forward pass of `model` inside the `with`: outputs at `paths`, and every tap.

    Run the forward pass under `torch.no_grad()`: the autograd graph begins at the first module
    named in `graph` (module or tap paths) that runs, and nothing before it is recorded, so that
    gradients with respect to these cost only the part of the network above the lowest.

    What is captured belongs to the calling context: the same model may serve others at the same
    time. The network works on with a copy (on a CPU copy-on-write) of each captured tensor, and may
    change that in place.

    Of a module that runs several times the last output is kept. Of a tuple or list the output is
    the first member (as of `nn.MultiheadAttention`, attention comes behind it), of a mapping the
    only tensor with three axes or more.

    Raises ValueError for a path that is no module of `model`, or a scripted or traced one (they
    run no hooks), TypeError for an output in which there is no such tensor, or whose gradient is
    wanted and that holds no floats, RuntimeError for a graph that is to begin inside
    `torch.inference_mode()`, and, when the block ends, where a captured output was overwritten by
    the module that gave it.
    """
    modules = dict(model.named_modules())
    taps = {path: module for path, module in modules.items() if isinstance(module, Tap)}
    wanted = _known(modules, (path for path in (*paths, *graph) if path not in taps))
    scripted = [path for path, one in wanted.items() if isinstance(one, torch.jit.ScriptModule)]
    if scripted:
        raise ValueError(
            f"module {scripted[0]!r} is scripted, and runs no hooks: give the network as it was "
            "before torch.jit"
        )
    trace, begins = Trace(), frozenset(graph)
    versions: dict[str, int] = {}

    def alive(path: str, output: Tensor) -> Tensor:
        """The output itself where gradients flow through it already, or the leaf of a graph."""
        if output.requires_grad or path not in begins:
            return output
        if not output.is_floating_point():
            raise TypeError(f"the output of {path!r} has no gradient: it is {output.dtype}")
        if torch.is_inference_mode_enabled() or output.is_inference():
            raise RuntimeError("torch.inference_mode() records no gradients: use torch.no_grad()")
        torch.set_grad_enabled(True)
        return output.detach().requires_grad_(True)

    def see_output(path: str, output: object) -> object:
        if _watching.get() is not trace:
            return None  # another's forward pass through the same model
        kept = alive(path, _tensor_of(path, output))
        trace.outputs.pop(path, None)  # of several runs the last counts, also for the order
        trace.outputs[path] = kept
        trace.runs[path] += 1
        if not kept.is_inference():  # such have no version
            versions[path] = kept._version
        return _with_tensor(output, _copy_on_write(kept))

    def see_tap(path: str, tap: Tap, args: tuple[Any, ...], *rest: Any) -> object:
        # `rest` is (kwargs, output) here. In other threads it may be (output,) while the hook is
        # being registered or removed: PyTorch notes that it takes keywords in a second step.
        if _watching.get() is not trace:
            return None
        kwargs, output = rest
        kept = alive(path, output)
        given = _TAP.bind(tap, *args, **kwargs).arguments
        trace.taps[path] = TapReading(tap.kind, kept, given["grid"], given.get("keys"))
        return _copy_on_write(kept)

    with _registering:
        handles = [
            module.register_forward_hook(lambda _, __, output, path=path: see_output(path, output))
            for path, module in wanted.items()
        ] + [
            tap.register_forward_hook(
                lambda _, *called, path=path, tap=tap: see_tap(path, tap, *called),
                with_kwargs=True,
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


def _copy_on_write(tensor: Tensor) -> Tensor:
    """The same values, which may be changed in place without changing `tensor`.

    On a CPU nothing is copied before that: clones of the five blocks' outputs would take VGG19
    25 MB a picture. Elsewhere it is a plain clone, which a GPU makes in microseconds.
    """
    return torch._lazy_clone(tensor) if tensor.device.type == "cpu" else tensor.clone()


def _tensor_of(path: str, output: object) -> Tensor:
    """The tensor that stands for a module's output; see `capture`. Raises TypeError for none."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        first, *others = output
        if all(getattr(other, "shape", None) != first.shape for other in others):
            return first
    if isinstance(output, Mapping):
        found = _maps_in(output)
        if len(found) == 1:
            return found.popitem()[1]
    raise TypeError(f"the output of {path!r} is not one tensor, but {described(output)}")


def _with_tensor(output: object, tensor: Tensor) -> object:
    """The output with `tensor` in the place of what `_tensor_of` found in it."""
    if isinstance(output, tuple | list):
        members = (tensor, *output[1:])
        named = getattr(output, "_make", None)  # of a named tuple
        return named(members) if named else type(output)(members)
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        changed[next(iter(_maps_in(output)))] = tensor
        return changed
    return tensor


def _maps_in(output: Mapping[Any, Any]) -> dict[Any, Tensor]:
    return {k: v for k, v in output.items() if isinstance(v, Tensor) and v.ndim >= 3}


def described(output: object) -> str:
    """What a module returned, in a few words: types, and of tensors their shapes."""
    if isinstance(output, Tensor):
        return str(tuple(output.shape))
    name = type(output).__name__
    if isinstance(output, Mapping):
        return f"{name} of " + ", ".join(f"{key} {described(one)}" for key, one in output.items())
    if isinstance(output, tuple | list):
        return f"{name} of " + ", ".join(map(described, output))
    return name


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
        (tap, lambda _, __, ___, output, path=path, tap=tap: replaced(path, tap, output))
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
    with _changed(
        [(module, lambda _, args, kwargs, __: _first(args, kwargs)) for module in modules]
    ):
        yield


@contextmanager
def replace_output(
    model: nn.Module, path: str, change: Callable[[Tensor], Tensor]
) -> Generator[None, None, None]:
    """Let the module at `path` return `change(output)`, which may have another batch size.

    Which tensor of several the output is, `capture` says. As with `intervene`, only the calling
    context's forward passes are changed. Raises ValueError for a path that is no module of `model`.
    """
    (module,) = _known(dict(model.named_modules()), [path]).values()

    def changed(_: nn.Module, __: object, ___: object, output: object) -> object:
        return _with_tensor(output, change(_tensor_of(path, output)))

    with _changed([(module, changed)]):
        yield


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else next(iter(kwargs.values()))


@contextmanager
def _changed(
    hooks: Sequence[tuple[nn.Module, Hook]],
) -> Generator[None, None, None]:
    """Forward hooks that give other outputs, in the calling context's forward passes only."""
    mine = object()

    def here(hook: Hook, *args: object) -> object:
        return hook(*args) if any(active is mine for active in _changing.get()) else None

    with _registering:
        handles = [
            module.register_forward_hook(partial(here, hook), with_kwargs=True)
            for module, hook in hooks
        ]
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

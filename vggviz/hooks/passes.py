"""A forward pass that is looked into: whose it is, which module runs, and which functions are
called there. And the cheap one, which looks at known places only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vggviz.hooks.capture import Change, _known, _registering
from vggviz.hooks.fused import HEADS, attention_scores, bound_heads, project_heads
from vggviz.hooks.layout import Layout
from vggviz.hooks.marks import Call
from vggviz.types import AttentionRecord, Grid, Kind

__all__ = ["Call", "Finding", "Pass", "Place", "Watch", "entered"]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a network computes attention: in a pass, the `index`-th call of `function` that the
    module `path` makes itself. `stage` is the module whose output is weighed; `shape` that of the
    weights as they are computed, without the batch."""

    path: str
    function: str
    index: int
    stage: str
    shape: tuple[int, ...]
    layout: Layout

    @property
    def kind(self) -> Kind:
        """What the weights weigh."""
        return self.layout.kind


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What one place showed for a batch: `weights` (B, ...) with the axes of its kind (see
    `AttentionRecord`), alive in the autograd graph if any."""

    place: Place
    weights: Tensor

    @property
    def kind(self) -> Kind:
        """What the weights weigh."""
        return self.place.layout.kind

    @property
    def grid(self) -> Grid:
        """(H, W) where positions, or queries, lie."""
        return self.place.layout.grid

    @property
    def keys(self) -> Grid | None:
        """(h, w) where the keys of a `token` map lie."""
        return self.place.layout.keys

    def record(self, row: int = 0) -> AttentionRecord:
        """The weights that one picture of the batch got: detached, CPU, float32."""
        place = self.place
        return place.layout.record(self.weights[row], place.path, place.stage)


class Pass(TorchFunctionMode):
    """A mode that tells, for each function of PyTorch that Python code calls, its name (`mul` for
    `torch.mul`, `*`, `mul_` and `*=`) and the module that called it, `stack[-1]`.

    While `call` runs, the mode is off. Functions with attention inside are opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.findings: list[Finding] = []
        self.stack = [""]
        self.counts = Counter[tuple[str, str]]()

    @property
    def here(self) -> bool:
        """Whether the calling context's pass is this one, and no other's of the same network."""
        return _running.get() is self

    def modules(self, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Those whose beginning and end must be known, by path."""
        raise NotImplementedError

    def call(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call the function, and give what the network is to go on with."""
        raise NotImplementedError

    def squashed(self, name: str, weights: Tensor) -> Tensor:
        """Give what the network is to go on with after a fused function computed weights."""
        raise NotImplementedError

    def attended(self, weights: Tensor, value: Tensor) -> None:
        """Those weights are to be contracted with features."""

    def enter(self, path: str, args: tuple[Any, ...]) -> None:
        """A module begins."""
        if path == "":  # a new pass
            self.findings.clear()
            self.counts.clear()
            self.stack[1:] = []
        self.stack.append(path)

    def leave(self, output: object) -> None:
        """The module on top ends."""
        self.stack.pop()

    def finish(self) -> None:
        """All is over, and nothing failed."""

    def counted(self, name: str) -> Call:
        """Which call of a function by the running module this is."""
        key = self.stack[-1], name
        self.counts[key] += 1
        return (*key, self.counts[key] - 1)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if _running.get() is not self:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "").strip("_")
        if name == "get":  # of a property, such as x.mT
            name = func.__self__.__name__  # type: ignore[attr-defined]
        if name == "scaled_dot_product_attention":
            return self._scaled_dot_product(*args, **kwargs)
        if name == HEADS:
            return self._multi_head(*args, **kwargs)
        return self.call(name, func, args, kwargs)

    def _scaled_dot_product(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """The function of this name, written out: softmax(scale · q kᵀ + mask) v."""
        if enable_gqa:  # groups of queries share their keys and values
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        weights = attention_scores(query, key, attn_mask, is_causal, scale)
        weights = self.squashed("scaled_dot_product_attention", weights)
        self.attended(weights, value)
        return F.dropout(weights, dropout_p) @ value

    def _multi_head(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """The function of this name with its weights; where the network is to go on with others,
        what follows them is written out."""
        bound = bound_heads(*args, **kwargs)
        given = bound.arguments
        wanted, averaged = given["need_weights"], given["average_attn_weights"]
        given.update(need_weights=True, average_attn_weights=False)
        output, own = F.multi_head_attention_forward(*bound.args, **bound.kwargs)
        assert own is not None
        weights = self.squashed(HEADS, own)
        self.attended(weights, given["value"])
        if weights is not own:
            output = project_heads(given, weights).reshape(output.shape)
        return output, (weights.mean(-3) if averaged else weights) if wanted else None


_running: ContextVar[Pass | None] = ContextVar("vggviz_running", default=None)


@contextmanager
def entered(network: nn.Module, run: Pass) -> Generator[None, None, None]:
    """Look by `run` into the passes of `network` in the calling thread and context."""
    watched = run.modules(dict(network.named_modules()))

    def begin(_: nn.Module, args: tuple[Any, ...], path: str) -> None:
        if run.here:
            run.enter(path, args)

    def end(_: nn.Module, __: object, output: object) -> None:
        if run.here:
            run.leave(output)

    with _registering:
        handles = [
            module.register_forward_pre_hook(lambda m, args, path=path: begin(m, args, path))
            for path, module in watched.items()
        ] + [
            module.register_forward_hook(end, always_call=True)  # after an exception, too
            for module in watched.values()
        ]
    token = _running.set(run)
    grad_enabled = torch.is_grad_enabled()
    try:
        with run:
            yield
        run.finish()
    finally:
        torch.set_grad_enabled(grad_enabled)
        _running.reset(token)
        for handle in handles:
            handle.remove()


class Watch(Pass):
    """A pass that shows known places, cuts the graph at some of them, and changes weights.

    Inside another one its own change comes second, on what the outer one left.
    """

    def __init__(
        self, places: Iterable[Place], graph: Collection[Place], change: Change | None
    ) -> None:
        super().__init__()
        self.places = {(place.path, place.function, place.index): place for place in places}
        self.functions = {place.function for place in self.places.values()}
        self.cuts = {(place.path, place.function, place.index) for place in graph}
        self.change = change
        outer = _running.get()
        self.outer = outer if isinstance(outer, Watch) else None
        if not self.cuts <= set(self.places):
            raise ValueError("the places in `graph` must be among those that are looked at")

    def modules(self, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """The network, the modules of the places, and their children, whose calls don't count."""
        own = {"": modules[""], **_known(modules, (path for path, _, _ in self.places))}
        paths = {id(module): path for path, module in modules.items()}
        children = [child for module in own.values() for child in module.children()]
        return own | {paths[id(child)]: child for child in children}

    def call(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        output = func(*args, **kwargs)
        return self.squashed(name, output) if name in self.functions else output

    def squashed(self, name: str, weights: Tensor) -> Tensor:
        call = self.counted(name)
        place = self.places.get(call)
        return weights if place is None else self._show(place, weights, call in self.cuts)

    def _show(self, place: Place, raw: Tensor, cut: bool) -> Tensor:
        """Keep the weights of this place, and give those that the network is to go on with."""
        if place.layout.without_batch(raw.shape) != place.shape:
            raise ValueError(
                f"{place.path!r} gives weights of the shape {tuple(raw.shape)}: its places were "
                "probed with pictures of another size"
            )
        own = place.layout.arrange(raw)
        weights = self.changed(place, own)
        if cut and not weights.requires_grad:
            torch.set_grad_enabled(True)
            weights = weights.detach().requires_grad_()
        changed = weights is not own or cut
        # What the network works on in place must not be ours.
        self.findings.append(Finding(place, weights if changed else weights.clone()))
        return place.layout.restore(weights, raw.shape).clone() if changed else raw

    def changed(self, place: Place, weights: Tensor) -> Tensor:
        """The weights that the network is to go on with, those themselves where none are changed.
        Raises ValueError for another shape."""
        shape = weights.shape
        if (
            self.outer is not None
            and (place.path, place.function, place.index) in self.outer.places
        ):
            weights = self.outer.changed(place, weights)
        if self.change is not None:
            weights = self.change(place.path, place.kind, weights)
        if weights.shape != shape:
            raise ValueError(
                f"the weights of {place.path!r} must keep their shape {tuple(shape)}, "
                f"not become {tuple(weights.shape)}"
            )
        return weights

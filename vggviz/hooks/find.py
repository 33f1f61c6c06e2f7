"""Attention in networks that were not made for it, found while they run.

Attention is a tensor that a sigmoid, hard sigmoid, tanh or softmax returned and that a later
product lays on features. So the network runs once inside a `TorchFunctionMode`, which sees every
PyTorch function that Python code calls:

1. What a squashing function returns is marked: a `Root`. (Not what it makes of parameters alone:
   that is a parameter by another name, the same for all pictures.)
2. Marks follow through reshaping, through arithmetic with numbers and parameters, through products
   of gates, and those of a softmax through normalisation and the mixing of heads.
3. Where a marked tensor meets features, that is unmarked data of three axes or more, in a product,
   a `Place` of attention is found.

Activations are no attention: in x·σ(x), GELU written by hand or a gated linear unit, the gate is
computed element by element from the very tensor that it multiplies, or from another half of it.
Nor are the gates of recurrent cells: there gate·state is added to gate·tanh.

`probe` finds the places once. After it, `finding` only counts the calls of their functions by
their modules; there it shows the weights, cuts the graph or changes them.

What PyTorch runs without Python can't be seen: scripted and compiled modules are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from vggviz.hooks.by_hand import follow_halves
from vggviz.hooks.capture import Change, evaluating
from vggviz.hooks.einsum import aligned
from vggviz.hooks.layout import Geometry, Layout
from vggviz.hooks.marks import (
    ASSIGN,
    CONTRACT,
    CREATE,
    DISTRIBUTION,
    ELEMENTWISE,
    MULTIPLY,
    NORMALISE,
    PROJECT,
    SPREAD,
    SQUASH,
    VIEW,
    Marks,
    Root,
    tensors_in,
)
from vggviz.hooks.passes import Call, Finding, Pass, Place, Watch, entered
from vggviz.types import AttentionRecord

__all__ = ["Finding", "Place", "find_attention", "finding", "probe"]


def find_attention(network: nn.Module, pixels: Tensor) -> list[AttentionRecord]:
    """Every attention that `network` used for one picture, in the order of use.

    `pixels` (1, C, H, W) as the network takes them. The network runs once, in evaluation mode, and
    is left as it was. Weights are bit for bit what the module at `path` computed, whatever became
    of them before they were used (1 + a, a / Σ a).

    Raises ValueError for pixels of another shape, and where a module is scripted or compiled.
    """
    if pixels.ndim != 4 or len(pixels) != 1:
        raise ValueError(f"pixels must be (1, C, H, W), not {tuple(pixels.shape)}")
    with torch.no_grad(), evaluating(network), finding(network) as findings:
        network(pixels)
    return [found.record() for found in findings]


def probe(network: nn.Module, pixels: Tensor) -> list[Place]:
    """The places of attention in `network`, for `finding`.

    `pixels` (B, C, H, W): the places hold for pictures of this height and width, in batches of any
    length. Runs and raises as `find_attention`.
    """
    with torch.no_grad(), evaluating(network), finding(network) as findings:
        network(pixels)
    return [found.place for found in findings]


@contextmanager
def finding(
    network: nn.Module,
    places: Iterable[Place] | None = None,
    *,
    graph: Collection[Place] = (),
    change: Change | None = None,
) -> Generator[list[Finding], None, None]:
    """Collect the attention of the forward pass of `network` inside the `with`.

    Without `places` all is searched; the list is complete when the block has ended. With the
    `places` of a `probe` the pass costs little more than a bare one. Then, as with `capture`, run
    under `torch.no_grad()`: the autograd graph begins at the first place in `graph` that is
    reached, and nothing before it is recorded. And as with `intervene`, the network goes on with
    `change(path, kind, weights)`, of the same shape (B, ...), instead of its own weights.

    Only passes in the calling thread and context are watched: the network may serve others at the
    same time. Of several passes the last one's findings are kept.

    Raises ValueError where a module is scripted or compiled; where something is to be cut or
    changed elsewhere than at `places`, or these are another network's; where weights have another
    shape than when they were probed, or `change` gives them another.
    """
    for path, module in network.named_modules():
        compiled = hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        if compiled or isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"{f'the module {path!r}' if path else 'the network'} is "
                f"{'compiled' if compiled else 'scripted'} and can't be looked into: "
                "load the plain module that it was made from"
            )
    if places is None and (graph or change is not None):
        raise ValueError("weights can be cut and changed only at known places: probe first")
    run = Search(network) if places is None else Watch(places, graph, change)
    with entered(network, run):
        yield run.findings


# The search ------------------------------------------------------------------------------------


class Search(Pass):
    """A pass that follows marks to find places."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._forget()

    def _forget(self) -> None:
        self.marks = Marks(self.network)
        self.geometry = Geometry()
        self.laid_in: list[str] = []  # for each finding, the module that made the product
        self.cells: set[str] = set()  # modules that turned out to be recurrent cells

    def modules(self, modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        return dict(modules)

    def enter(self, path: str, args: tuple[Any, ...]) -> None:
        if path == "":
            self._forget()
            self.geometry.start(next((x.shape for x in tensors_in(args) if x.ndim == 4), ()))
        super().enter(path, args)

    def leave(self, output: object) -> None:
        for tensor in tensors_in(output):
            self.marks.note(tensor).module = self.stack[-1]
            self.geometry.see(tensor.shape)
        super().leave(output)

    def finish(self) -> None:
        both = zip(self.findings, self.laid_in, strict=True)
        self.findings[:] = [found for found, where in both if where not in self.cells]
        self._forget()

    def call(self, name: str, func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        call = self.counted(name)
        follow = RULES.get(name)
        if follow is None:
            return func(*args, **kwargs)
        given = (*args, *kwargs.values())
        inputs = list(tensors_in(given))
        for tensor in inputs:
            self.marks.note(tensor)
        output = func(*args, **kwargs)
        follow(self, call, inputs, output, given)
        if inputs and not any(self.marks.note(x).origin for x in inputs):
            self.create(call, inputs, output, given)
        return output

    def squashed(self, name: str, weights: Tensor) -> Tensor:
        self.mark(self.counted(name), weights, None, scores=True)
        return weights

    def attended(self, weights: Tensor, value: Tensor) -> None:
        self.lay(weights, self.marks.note(weights).roots, value, summed=True)

    def mark(self, call: Call, output: Tensor, origin: int | None, scores: bool) -> None:
        """A squashing function returned this. What is kept is a copy, safe from later changes."""
        self.marks.note(output).roots = (Root(call, output.detach().clone(), origin, scores),)

    def lay(
        self, gate: Tensor, roots: Iterable[Root], features: Tensor, summed: bool = False
    ) -> bool:
        """There is a product of a marked tensor and features. Returns whether it is attention."""
        note = self.marks.note(features)
        same = gate.shape == features.shape
        any_found = False
        for root in roots:
            layout: Layout | None = None
            if root.entry is not None and not root.memory:
                any_found = True  # laid on several features, it is still one attention
            elif summed and root.call[1] != "tanh":
                layout = self.geometry.attending(root.raw, features.shape, root.scores)
            elif not summed and not (same and root.origin == note.origin):  # no activation
                layout = self.geometry.weighing(root.raw, gate, features.shape, note.axes)
            if layout is not None:
                self.found(root, layout, note.module or self.stack[-1])
                any_found = True
        return any_found

    def found(self, root: Root, layout: Layout, stage: str, memory: bool = False) -> None:
        """This is attention; a memory's place is kept for features that may come."""
        shape = layout.without_batch(root.raw.shape)
        finding = Finding(Place(*root.call, stage, shape, layout), layout.arrange(root.raw))
        if root.entry is None:
            root.entry = len(self.findings)
            self.findings.append(finding)
            self.laid_in.append(self.stack[-1])
        self.findings[root.entry] = finding
        root.memory = memory

    # Rules: what functions do to marks. `given` are all arguments, `inputs` the tensors in them.

    def squash(self, call: Call, inputs: list[Tensor], output: Tensor, given: Any) -> None:
        note = self.marks.note(inputs[0])
        if note.origin:
            self.mark(call, output, None if call[1] in DISTRIBUTION else note.origin, note.scores)

    def elementwise(self, call: Call, inputs: list[Tensor], output: Tensor, given: Any) -> None:
        """Products, sums, and functions of single elements."""
        product, note = call[1] in MULTIPLY, self.marks.note
        marked, features = [x for x in inputs if note(x).roots], self.marks.features(inputs)
        origins = {note(x).origin for x in inputs} - {0}
        scores = any(note(x).scores for x in inputs)
        data = self.marks.data(inputs)
        constant_first = all(given[0] is not x for x in data)
        whole, half = follow_halves(call[1], [note(x) for x in data], given, constant_first)
        roots, gated = self.marks.of(marked), False
        if marked and features:
            widest = max(features, key=Tensor.numel)
            if not product:
                if any(note(x).gated for x in features) and _is_cell(roots):
                    self.cells.add(self.stack[-1])
                roots = ()
            elif marked[0].numel() <= widest.numel():
                gated = self.lay(marked[0], roots, widest)
                roots = ()
        elif product and len(marked) == 2:
            for gate, wide in permutations(marked):
                if gate.shape != output.shape == wide.shape and wide.ndim > 2:
                    # Whether `wide` is a gate, too, or features after a tanh: `gate` acts on it.
                    roots = note(wide).roots
                    self.lay(gate, [x for x in note(gate).roots if x not in roots], wide)
        result = note(output)
        result.roots, result.half, result.gated, result.scores = roots, half, gated, scores
        result.origin = origins.pop() if len(origins) == 1 else next(self.marks.origins)
        if whole:
            self.mark(call, output, whole[0], scores)

    def view(self, call: Call, inputs: list[Tensor], output: Any, given: Any) -> None:
        """The same elements in another shape."""
        source, first = inputs[0], self.marks.note(inputs[0])
        axes = self.geometry.permuted(call[1], source.shape, first.axes, given[1:])
        for tensor in tensors_in(output):
            note = self.marks.note(tensor)
            note.origin, note.roots, note.half = first.origin, first.roots, first.half
            note.scores = first.scores
            if tensor.numel() == source.numel():  # all that the module returned, not a part of it
                note.module = first.module
            note.axes = axes or (first.axes if tensor.shape == source.shape else "")

    def spread(self, call: Call, inputs: list[Tensor], output: Any, given: Any) -> None:
        """Sums, choices and enlargements, and several tensors in one."""
        notes = [self.marks.note(x) for x in self.marks.data(inputs)]
        for tensor in tensors_in(output) if notes else ():
            note = self.marks.note(tensor)
            note.scores, note.half = all(x.scores for x in notes), notes[0].half
            if all(x.roots for x in notes):
                note.roots = self.marks.of(inputs)
        if call[1] == "roll":
            self.geometry.rolled(given[1])

    def normalise(self, call: Call, inputs: list[Tensor], output: Tensor, given: Any) -> None:
        """Of a softmax, after which it is one still. After a sigmoid it makes features."""
        roots = self.marks.note(inputs[0]).roots
        self.marks.note(output).roots = tuple(x for x in roots if x.origin is None)

    def contract(self, call: Call, inputs: list[Tensor], output: Tensor, given: Any) -> None:
        """Sums of products: with features, of queries and keys, or with parameters that are mixed
        by attention."""
        marked = [x for x in inputs if self.marks.note(x).roots]
        features = self.marks.features(inputs)
        if marked and features:
            widest = max(features, key=Tensor.numel)
            for gate in marked:
                factor = aligned(given[0], inputs, gate, widest)
                plain = gate if factor is None else factor
                self.lay(plain, self.marks.note(gate).roots, widest, summed=factor is None)
        elif len(features) > 1:
            self.marks.note(output).scores = True
        elif marked and len(self.marks.data(inputs)) == len(marked):
            self.project(call, marked[:1], output, given)
            self.marks.note(output).roots = self.marks.of(marked)

    def project(self, call: Call, inputs: list[Tensor], output: Tensor, given: Any) -> None:
        """A layer. Attention over kernels weighs its parameters; a softmax reads by them from a
        memory, or has its heads mixed and will be laid on features."""
        first, *parameters = inputs
        for root in self.marks.of(parameters):
            if root.entry is None:
                self.found(root, self.geometry.other(root.raw), self.stack[-1])
        if call[1] in CONTRACT or call[1] == "linear" or parameters[0][0, 0].numel() == 1:
            note, result = self.marks.note(first), self.marks.note(output)
            result.scores = note.scores
            result.roots = tuple(x for x in note.roots if x.origin is None)
            for root in result.roots:
                if root.entry is None and root.raw.ndim > 2:
                    self.found(root, self.geometry.other(root.raw), self.stack[-1], memory=True)

    def create(self, call: Call, inputs: list[Tensor], output: Any, given: Any) -> None:
        """Tensors that do not come from the picture."""
        for tensor in tensors_in(output):
            self.marks.note(tensor).origin = 0

    def assign(self, call: Call, inputs: list[Tensor], output: Any, given: Any) -> None:
        """Elements of the first tensor are overwritten by others."""
        note = self.marks.note(inputs[0])
        if self.marks.data(inputs):
            note.origin = next(self.marks.origins)
            note.roots = self.marks.of(inputs) if self.marks.of(inputs[1:]) else ()


Rule = Callable[[Search, Call, list[Tensor], Any, Any], None]
RULES: dict[str, Rule] = {
    name: rule
    for names, rule in (
        (SQUASH, Search.squash),
        (ELEMENTWISE, Search.elementwise),
        (VIEW, Search.view),
        (SPREAD, Search.spread),
        (NORMALISE, Search.normalise),
        (CONTRACT, Search.contract),
        (PROJECT, Search.project),
        (CREATE, Search.create),
        (ASSIGN, Search.assign),
    )
    for name in names
}


def _is_cell(roots: Iterable[Root]) -> bool:
    """Whether this is a product of a gate and a tanh."""
    return len({root.call[1] == "tanh" for root in roots}) == 2

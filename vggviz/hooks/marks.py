"""What a search knows of the tensors that are alive, and which functions carry it on."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from torch import Tensor, nn

__all__ = ["Half", "Marks", "Note", "Root", "tensors_in"]

Call = tuple[str, str, int]  # module path, function, how many times before in this pass
Half = tuple[str, int]  # 'exp' or 'clamp', and the origin of its argument


@dataclass(slots=True, eq=False)
class Root:
    """What a squashing function returned. `origin` tells from which tensor it was computed element
    by element, None for a softmax; `scores` whether that was a product of queries and keys;
    `entry` where it stands among the findings; `memory` whether up to now only a layer of the
    network read by it."""

    call: Call
    raw: Tensor
    origin: int | None
    scores: bool
    entry: int | None = None
    memory: bool = False


@dataclass(slots=True, eq=False)
class Note:
    """What is known of one tensor: its marks; the tensor that it was computed from element by
    element (0: numbers and parameters alone); whether it is a product of queries and keys, or of a
    gate and features; whether it is half of a hand-written softmax, sigmoid or hard sigmoid; the
    letters of its axes, once they were permuted; and the last module that returned it."""

    alive: weakref.ref[Tensor]
    origin: int
    roots: tuple[Root, ...] = ()
    scores: bool = False
    gated: bool = False
    half: Half | None = None
    axes: str = ""
    module: str = ""


class Marks:
    """Notes on tensors. Each goes when its tensor does."""

    def __init__(self, network: nn.Module) -> None:
        self.fixed = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
        self.notes: dict[int, Note] = {}
        self.origins = count(1)

    def note(self, tensor: Tensor) -> Note:
        """The note on a tensor, made where there is none."""
        key, notes = id(tensor), self.notes
        if key not in notes:
            alive = weakref.ref(tensor, lambda _: notes.pop(key, None))
            notes[key] = Note(alive, 0 if key in self.fixed else next(self.origins))
        return notes[key]

    def of(self, tensors: Iterable[Tensor]) -> tuple[Root, ...]:
        """All marks of some tensors."""
        return tuple(dict.fromkeys(root for x in tensors for root in self.note(x).roots))

    def data(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Those that come from the picture."""
        return [x for x in tensors if x.is_floating_point() and self.note(x).origin]

    def features(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Those that attention can weigh: unmarked data of three axes or more."""
        return [x for x in self.data(tensors) if x.ndim > 2 and not self.note(x).roots]


def tensors_in(value: object) -> Iterator[Tensor]:
    """All tensors in arguments or outputs, also in tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Functions by what they do to marks, under the names that `Pass` gives them.
DISTRIBUTION = _names("softmax softmin special_softmax gumbel_softmax")  # sums to 1
SQUASH = DISTRIBUTION | _names("sigmoid special_expit hardsigmoid tanh")
MULTIPLY = _names("mul multiply rmul imul addcmul lerp")
ELEMENTWISE = MULTIPLY | _names(
    """add radd sub subtract rsub div divide true_divide rdiv truediv reciprocal neg negative pow
    rpow square sqrt rsqrt exp log log1p abs relu relu6 hardtanh clamp clip clamp_min clamp_max
    softplus sign erf where masked_fill nan_to_num maximum minimum"""
)
VIEW = _names(
    """view view_as reshape reshape_as unsqueeze squeeze expand expand_as broadcast_to permute
    transpose swapaxes swapdims movedim moveaxis t T mT adjoint H mH flatten unflatten ravel
    contiguous clone detach chunk split split_with_sizes tensor_split unbind getitem narrow
    select to type type_as float half bfloat16 double cpu cuda dropout dropout1d dropout2d dropout3d
    alpha_dropout feature_dropout requires_grad lazy_clone"""
)
SPREAD = _names(
    """sum mean max amax min amin norm cat concat concatenate stack interpolate upsample pad flip
    roll repeat repeat_interleave tile gather topk index_select take_along_dim"""
)
NORMALISE = _names("instance_norm batch_norm layer_norm group_norm normalize rms_norm")
CONTRACT = _names("matmul linalg_matmul rmatmul mm bmm einsum baddbmm addbmm tensordot")
PROJECT = _names("linear conv1d conv2d conv3d")
CREATE = _names(
    """arange linspace zeros ones full empty eye rand randn tensor as_tensor zeros_like ones_like
    full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty new_tensor"""
)
ASSIGN = _names("setitem copy index_copy index_add index_put scatter scatter_add")

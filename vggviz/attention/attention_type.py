"""What the rest of the package knows about a type of attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

__all__ = ["AttentionType"]


@dataclass(frozen=True, slots=True)
class AttentionType:
    """A type of attention: its module, and how it is presented.

    `module(channels)` returns a fresh module that maps (B, C, H, W) to (B, C, H, W), passes its
    weights through at least one `Tap`, and initialises all of its parameters and buffers.
    `title` and `explanation` (one sentence: what is weighed, and by what) are shown on the page,
    in reports and in the documentation. `paper` names the source, '' where there is none. `start`
    is one sentence on what a fresh module does before any training. `diagram` is its mechanism in
    one line of formula signs, which `vggviz.app.diagrams` draws: 'row | row => tail : operation',
    boxes between '>', steps between ';'. `gate_biases` names the parameters that are added right
    before a sigmoid.
    """

    module: Callable[[int], nn.Module]
    title: str
    explanation: str
    paper: str = ""
    start: str = ""
    diagram: str = ""
    gate_biases: tuple[str, ...] = ()

    def __call__(self, channels: int) -> nn.Module:
        """A fresh module for features of this many channels."""
        return self.module(channels)

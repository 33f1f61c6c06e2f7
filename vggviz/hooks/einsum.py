"""Gates that `torch.einsum` lays on features."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

from torch import Tensor

__all__ = ["aligned"]


def aligned(
    equation: object, inputs: list[Tensor], gate: Tensor, features: Tensor
) -> Tensor | None:
    """The gate with the axes of the features, where an einsum sums over none of them."""
    if not isinstance(equation, str) or "->" not in equation:
        return None
    terms, result = _spelled_out(equation.replace(" ", ""), [x.ndim for x in inputs])
    own, wide = (terms[[x is y for x in inputs].index(True)] for y in (gate, features))
    if not set(own) <= set(wide) <= set(result):
        return None
    kept = [letter for letter in wide if letter in own]
    aligned = gate.permute([own.index(letter) for letter in kept])
    return aligned[tuple(slice(None) if letter in own else None for letter in wide)]


def _spelled_out(equation: str, axes: Sequence[int]) -> tuple[list[str], str]:
    """The terms and the result of an equation with letters in the place of each '...', for inputs
    with so many axes: ('bc...,bc->bc...', (4, 2)) → (['bcxy', 'bc'], 'bcxy')."""
    left, result = equation.split("->")
    terms = left.split(",")
    hidden = [count - len(term) + 3 for term, count in zip(terms, axes, strict=True)]
    most = max((n for term, n in zip(terms, hidden, strict=True) if "..." in term), default=0)
    letters = "".join(letter for letter in ascii_letters if letter not in equation)[:most]
    spelled = [
        term.replace("...", letters[most - n :]) for term, n in zip(terms, hidden, strict=True)
    ]
    return spelled, result.replace("...", letters)

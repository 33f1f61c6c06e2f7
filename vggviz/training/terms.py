"""Which terms the loss without labels has, by attention type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["TERMS", "Terms"]


@dataclass(frozen=True, slots=True)
class Terms:
    """The weights of the terms of the loss; `budget` is ρ in `mask_of`.

    `answers` other than 'own' are controls, from which nothing can be learned about the pictures:
    'shuffled' gives each picture the answer for another one, 'wrong' exchanges the likeliest class
    with the least likely.
    """

    keep: float = 1.0
    need: float = 2.0
    price: float = 6.0
    counterfactual: float = 0.0
    budget: float = 1.0
    answers: Literal["own", "shuffled", "wrong"] = "own"


TERMS: dict[str, Terms] = {
    "softmax": Terms(counterfactual=0.03),
    "self_attention": Terms(counterfactual=0.03),
    "gate": Terms(price=8.0),
}
"""The terms by attention type, `Terms()` for all others, chosen on the half `choose` of the boxes
(`vggviz.data.halves`). What they reach: docs/results/unlabelled.md."""

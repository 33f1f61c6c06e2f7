"""Which terms the loss without labels has, by attention type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["TERMS", "Terms"]


@dataclass(frozen=True, slots=True)
class Terms:
    """The weights of the terms of the loss; `budget` is ρ in `mask_of`.

    The price rises from 0 over the share `ramp` of the training, and `open` is added to the biases
    before sigmoids where it starts: gates of 1/2 weaken what a frozen network works with, and all
    of the price at once can shut them for good.

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
    ramp: float = 0.5
    open: float = 2.0

    def at(self, done: float) -> Terms:
        """The terms when a share `done` of the training is over, with the price of that moment.

        Bowman et al. 2016, 'Generating Sentences from a Continuous Space', section 3.1: a weight
        that rises from 0, against a like collapse.
        """
        return replace(self, price=self.price * min(1.0, done / self.ramp)) if self.ramp else self


TERMS: dict[str, Terms] = {
    "spatial": Terms(ramp=0.0, open=0.0),
    "softmax": Terms(counterfactual=0.03, ramp=0.0),
    "self_attention": Terms(counterfactual=0.03, ramp=0.0),
    "gate": Terms(price=8.0, ramp=0.0, open=0.0),
}
"""The terms by attention type, `Terms()` for all others, chosen on the half `choose` of the boxes
(`vggviz.data.halves`). What they reach: docs/results/unlabelled.md."""

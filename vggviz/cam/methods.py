"""The CAM methods by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from torch import Tensor

from vggviz.cam import formulas, perturbation
from vggviz.types import InputError

__all__ = ["METHODS", "Method", "known"]


class Method(NamedTuple):
    """A formula and what it eats: activation and gradient, the activation alone, attention
    weights and their gradient, or many forward passes."""

    needs: Literal["gradient", "activation", "attention", "passes"]
    formula: Callable[..., Tensor]

    @property
    def knows_class(self) -> bool:
        """Whether the map depends on the target."""
        return self.needs != "activation"


METHODS: dict[str, Method] = {
    "gradcam": Method("gradient", formulas.gradcam),
    "gradcam++": Method("gradient", formulas.gradcam_plus_plus),
    "hirescam": Method("gradient", formulas.hirescam),
    "layercam": Method("gradient", formulas.layercam),
    "xgradcam": Method("gradient", formulas.xgradcam),
    "eigencam": Method("activation", formulas.eigencam),
    "scorecam": Method("passes", perturbation.scorecam),
    "attention*gradient": Method("attention", formulas.attention_gradient),
}


def known(names: Sequence[str]) -> tuple[str, ...]:
    """The names themselves. Raises ValueError, listing `METHODS`, for one that is not there."""
    for name in names:
        if name not in METHODS:
            raise InputError("no_method", method=name, known=", ".join(METHODS))
    return tuple(names)

"""The pictures and networks that all cases share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from vggviz.explainer import Explainer
from vggviz.networks import Network, build_network
from vggviz.weights import load_network

__all__ = ["Case", "Fixtures", "Work"]

Work = Callable[[], list[Tensor]]


class Fixtures:
    """Pictures of noise, `size` × `size` pixels, and networks of `width`, as in `NetworkConfig`."""

    def __init__(self, size: int, width: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self.image = torch.randn(1, 3, size, size, generator=generator)
        model, self._card = load_network(
            "random", "cbam", generator=generator, blend="residual", width=width
        )
        self._state = model.state_dict()

    def images(self, count: int) -> Tensor:
        """(count, 3, S, S): `image`, and others beside it."""
        generator = torch.Generator().manual_seed(1)
        others = torch.randn(count - 1, *self.image.shape[1:], generator=generator)
        return torch.cat((self.image, others))

    def network(
        self, attention: str = "none", layout: torch.memory_format = torch.contiguous_format
    ) -> Network:
        """The network with attention 'none' or 'cbam', a module tree of its own on these weights.

        Its parameters require gradients, as torchvision's do: other libraries need that to
        build a graph, and what they leave in `.grad` must not reach the other cases.
        """
        model = build_network(replace(self._card.config, attention=attention), empty=True)
        state = {
            name: value.contiguous(memory_format=layout) if value.ndim == 4 else value
            for name, value in self._state.items()
            if attention != "none" or not name.startswith("attention.")
        }
        model.load_state_dict(state, assign=True)
        return model.eval()

    def explained(self, attention: str, precision: str = "exact") -> Network:
        """The network as an `Explainer` of this precision keeps it."""
        network = self.network(attention)
        return Explainer(network, self._card, precision=precision, copy=False).model

    @cached_property
    def target(self) -> int:
        """The predicted class of `image`, for libraries that need one."""
        with torch.inference_mode():
            return int(self.network()(self.image).argmax())


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time: `prepare` sets it up, untimed, and returns the work.

    The work returns one Grad-CAM map (h, w) for each of `stages`, or the logits of a bare forward
    pass; with several `images` maps are (B, h, w), with several `targets`, the classes 0, 1, …,
    (T, h, w). `like` is the case of ours that another library is compared with, that library's
    for a case of ours in bfloat16, and one picture's for a batch of ours.
    """

    label: str
    prepare: Callable[[Fixtures, Case], Work]
    stages: tuple[str, ...] = ()
    like: str = ""
    images: int = 1
    targets: int = 1

    def ready(self, fixtures: Fixtures) -> Work:
        """The work. Raises ModuleNotFoundError for a library that is not installed."""
        return self.prepare(fixtures, self)

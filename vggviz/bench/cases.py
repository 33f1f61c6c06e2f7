"""What is timed: the bare forward pass, our explanations, and other libraries doing the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module

import torch
from torch import Tensor

from vggviz import zoo
from vggviz.cam import cams
from vggviz.explain import Explainer
from vggviz.vgg import SITES, VGG

__all__ = ["BARE", "CASES", "Bed", "Case", "Work"]

BARE = "bare"

Work = Callable[[], list[Tensor]]


class Bed:
    """What all cases work on: one picture of noise, and networks that share their weights."""

    def __init__(self, size: int, width: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self.image = torch.randn(1, 3, size, size, generator=generator)
        model, self._card = zoo.load(
            "random", "cbam", generator=generator, blend="residual", width=width
        )
        self._state = model.state_dict()

    def network(
        self, attention: str = "none", layout: torch.memory_format = torch.contiguous_format
    ) -> VGG:
        """The network with attention 'none' or 'cbam', a module tree of its own on these weights.

        Its parameters require gradients, as torchvision's do: other libraries need that to
        build a graph, and what they leave in `.grad` must not reach the other cases.
        """
        with torch.device("meta"):
            model = VGG(replace(self._card.config, attention=attention))
        state = {
            name: value.contiguous(memory_format=layout) if value.ndim == 4 else value
            for name, value in self._state.items()
            if attention != "none" or not name.startswith("attention.")
        }
        model.load_state_dict(state, assign=True)
        return model.eval()

    def explained(self, attention: str) -> VGG:
        """The network as an `Explainer` keeps it."""
        return Explainer(self.network(attention), self._card).model

    @cached_property
    def target(self) -> int:
        """The likeliest class, for a library that must be told one."""
        return int(_bare(self.network(), self.image)[0].argmax())


def _forward(bed: Bed, _: tuple[str, ...]) -> Work:
    return partial(_bare, bed.network(), bed.image)


def _forward_channels_last(bed: Bed, _: tuple[str, ...]) -> Work:
    layout = torch.channels_last
    return partial(_bare, bed.network("none", layout), bed.image.contiguous(memory_format=layout))


def _forward_cbam(bed: Bed, _: tuple[str, ...]) -> Work:
    return partial(_bare, bed.network("cbam"), bed.image)


@torch.inference_mode()
def _bare(model: VGG, image: Tensor) -> list[Tensor]:
    return [model(image)]


def _ours(bed: Bed, sites: tuple[str, ...]) -> Work:
    return partial(_cams, bed.explained("none"), bed.image, sites)


def _ours_cbam(bed: Bed, sites: tuple[str, ...]) -> Work:
    return partial(_cams, bed.explained("cbam"), bed.image, sites)


def _cams(model: VGG, image: Tensor, sites: tuple[str, ...]) -> list[Tensor]:
    paths = [model.path(site) for site in sites]
    found = cams(model, image, paths, ("gradcam",))
    return [found.maps[path, "gradcam"][0, 0] for path in paths]


def _torchcam(bed: Bed, sites: tuple[str, ...]) -> Work:
    """One extractor for all layers: one forward and one partial backward, as ours."""
    library = import_module("torchcam.methods")
    model = bed.network()
    paths = [model.path(site) for site in sites]

    def work() -> list[Tensor]:
        with library.GradCAM(model, paths) as extractor:
            scores: Tensor = model(bed.image)
            return [cam[0] for cam in extractor(int(scores.argmax()), scores)]

    return work


def _pytorch_grad_cam(bed: Bed, sites: tuple[str, ...]) -> Work:
    return _grad_cam_each(bed.network(), bed.image, sites)


def _pytorch_grad_cam_frozen(bed: Bed, sites: tuple[str, ...]) -> Work:
    """The same without gradients of the weights, which its users must know to turn off.

    The picture then has to require a gradient, or there would be no graph.
    """
    model = bed.network().requires_grad_(False)
    return _grad_cam_each(model, bed.image.clone().requires_grad_(True), sites)


def _grad_cam_each(model: VGG, image: Tensor, sites: tuple[str, ...]) -> Work:
    """One object for each layer: given several layers, the library returns only their mean."""
    library = import_module("pytorch_grad_cam")
    layers = [model.get_submodule(model.path(site)) for site in sites]

    def work() -> list[Tensor]:
        maps: list[Tensor] = []
        for layer in layers:
            with library.GradCAM(model, [layer]) as extractor:
                maps.append(torch.from_numpy(extractor(image, None))[0])
        return maps

    return work


def _captum(bed: Bed, sites: tuple[str, ...]) -> Work:
    """One call for each layer. It is told the class, so it is spared a forward pass."""
    library = import_module("captum.attr")
    model = bed.network()
    layers = [model.get_submodule(model.path(site)) for site in sites]
    target = bed.target

    def work() -> list[Tensor]:
        found: list[Tensor] = [
            library.LayerGradCam(model, layer).attribute(bed.image, target, relu_attributions=True)
            for layer in layers
        ]
        return [cam[0, 0].detach() for cam in found]

    return work


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time: `prepare` sets it up, untimed, and returns the work for `sites`.

    The work returns one Grad-CAM map (h, w) a site, or the logits of a bare forward pass. `ours`
    is the case of ours that another library is compared with.
    """

    label: str
    prepare: Callable[[Bed, tuple[str, ...]], Work]
    sites: tuple[str, ...] = ()
    ours: str = ""


LAST = SITES[-1:]
CASES: dict[str, Case] = {
    BARE: Case("bare forward", _forward),
    "bare-channels-last": Case("bare forward, channels-last", _forward_channels_last),
    "bare-cbam": Case("bare forward with cbam", _forward_cbam),
    "vggviz-1": Case("vggviz", _ours, LAST),
    "vggviz-5": Case("vggviz", _ours, SITES),
    "vggviz-cbam-1": Case("vggviz, cbam and Grad-CAM", _ours_cbam, LAST),
    "vggviz-cbam-5": Case("vggviz, cbam and Grad-CAM", _ours_cbam, SITES),
    "torchcam-1": Case("torchcam", _torchcam, LAST, "vggviz-1"),
    "torchcam-5": Case("torchcam", _torchcam, SITES, "vggviz-5"),
    "captum-1": Case("captum", _captum, LAST, "vggviz-1"),
    "captum-5": Case("captum", _captum, SITES, "vggviz-5"),
    "grad-cam-1": Case("pytorch-grad-cam", _pytorch_grad_cam, LAST, "vggviz-1"),
    "grad-cam-5": Case("pytorch-grad-cam", _pytorch_grad_cam, SITES, "vggviz-5"),
    "grad-cam-frozen-1": Case(
        "pytorch-grad-cam, frozen weights", _pytorch_grad_cam_frozen, LAST, "vggviz-1"
    ),
    "grad-cam-frozen-5": Case(
        "pytorch-grad-cam, frozen weights", _pytorch_grad_cam_frozen, SITES, "vggviz-5"
    ),
}

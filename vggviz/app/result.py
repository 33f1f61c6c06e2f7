"""The part of an explanation that a session stores, from which any view is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vggviz.app.inputs import UploadedPicture
from vggviz.cam import METHODS
from vggviz.explanation import Explanation
from vggviz.images import Crop
from vggviz.networks import Network
from vggviz.types import POSITIONS, Kind, Prediction, Ranked

__all__ = [
    "SIDE",
    "SMALL",
    "Floats",
    "Maps",
    "Pixels",
    "Request",
    "Result",
    "StageMaps",
    "raw_maps",
    "stage_maps",
]

Pixels: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]
Halves: TypeAlias = npt.NDArray[np.float16]
Maps: TypeAlias = Mapping[tuple[str, str, int], Floats | None]
"""Raw maps of CAM methods by (stage, method, class: 0 the target, 1 the contrast), None where the
method has no map at that stage."""

SIDE = 576  # pixels a side of the picture under maps: three of them fill a projector of 1920
SMALL = 128  # pixels a side of the largest crop for which what takes many passes runs unasked
WHOLE = 640  # pixels of the whole picture's longer side
FINEST = 28  # cells a side of stored features: less than 2 MB in all


class Request(NamedTuple):
    """What is to be explained: a picture by its path, which holds a hash of its content, a network
    by its weights and attention, and the class that CAMs are for and the one they are contrasted
    with: an index, a label or a WordNet id, '' for the predicted class and for no contrast."""

    path: str | None
    weights: str
    attention: str
    target: str
    contrast: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class StageMaps:
    """What the page shows of one stage: `gradcam` and `attention` as raw maps (h, w), the `kind` of
    that attention, its weights of `channels` (C,), and `gamma` where it is blended in; None for
    what the stage doesn't have.

    `contributions` (C,) are what each channel of the stage's output contributes to the score of
    the target: see `Explanation.contributions`. Where channels are weighed, `features` (C, h, w)
    are the input of the attention, and `weighed` the input times the weights: averaged over areas
    to at most `FINEST` cells a side, in half precision.
    """

    gradcam: Floats
    attention: Floats | None
    kind: Kind | None
    channels: Floats | None
    gamma: float | None
    contributions: Floats | None = None
    features: Halves | None = None
    weighed: Halves | None = None

    @property
    def has_attention(self) -> bool:
        """Whether attention at this stage is a map or weights of channels."""
        return self.attention is not None or self.channels is not None


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A request, and everything that the page shows of its explanation.

    Attention weights themselves are left out: those of one self-attention stage can take 150 MB.
    `crop` is the network's input, (S, S, 3), and `where` is its place in the uploaded picture;
    `square` is the same part at the upload's own resolution, (SIDE, SIDE, 3); `picture` is the
    whole picture, at most WHOLE pixels a side, and `box` the place of the crop in it;
    `animated` says that the upload has more frames than the one shown. `details` are the
    explanation as JSON types. `prediction` holds all classes, `top` are the five
    most probable ones, `off` those with attention switched off, None where there is none, and
    `off_shares` its probabilities of the classes in `top`. `stages` are in the network's order;
    `row` are the names of those that the strip has room for; `maps` those of CAM methods so far.
    """

    request: Request
    details: Mapping[str, Any]
    crop: Pixels
    where: Crop
    square: Pixels
    picture: Pixels
    box: Crop
    animated: bool
    prediction: Prediction
    top: tuple[Ranked, ...]
    off: tuple[Ranked, ...] | None
    off_shares: tuple[float, ...]
    target: Ranked
    contrast: Ranked | None
    attention: str
    trained: str
    stages: Mapping[str, StageMaps]
    row: tuple[str, ...]
    maps: Maps

    def __deepcopy__(self, memo: object) -> Result:
        """The result itself: it is immutable, and Gradio would copy it for every visitor."""
        return self

    @classmethod
    def of(
        cls,
        explanations: Sequence[Explanation],
        features: Mapping[str, Tensor],
        uploaded: UploadedPicture,
        request: Request,
        model: Network,
        off: Prediction | None = None,
    ) -> Result:
        """The result of a `request` from the explanations of the `uploaded` picture: the first is
        for the target, the second, if any, for the contrast.

        They must hold Grad-CAM at all listed stages of the `model`. `features` (C, h, w) are the
        inputs of attention, by stage; `off` is the prediction with attention switched off.
        """
        first = explanations[0]
        provenance = first.provenance
        top = first.prediction.top(5)
        shares = {ranked.index: ranked.probability for ranked in off.ranked} if off else {}
        picture, box = _shrink(uploaded.image, first.crop)
        return cls(
            request=request,
            details=first.to_json(),
            crop=first.image,
            where=first.crop,
            square=_square(uploaded.image, first.crop),
            picture=picture,
            box=box,
            animated=uploaded.image.info.get("animated", False),
            prediction=first.prediction,
            top=top,
            off=off.top(5) if off else None,
            off_shares=tuple(shares[ranked.index] for ranked in top) if off else (),
            target=first.target,
            contrast=explanations[1].target if len(explanations) > 1 else None,
            attention=provenance["config"]["attention"],
            trained=provenance["trained"],
            stages={
                stage: stage_maps(first, stage, features.get(stage))
                for stage in model.listed_stages()
            },
            row=model.stages,
            maps=raw_maps(explanations),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stages."""
        return tuple(self.stages)

    @property
    def with_attention(self) -> tuple[str, ...]:
        """The names of the stages that have attention."""
        return tuple(name for name, one in self.stages.items() if one.has_attention)

    @property
    def weighs_positions(self) -> bool:
        """Whether attention at any stage has a weight for every position."""
        return any(one.kind in POSITIONS for one in self.stages.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures and maps."""
        arrays: list[npt.NDArray[Any] | None] = [self.crop, self.square, self.picture]
        arrays += self.maps.values()
        for one in self.stages.values():
            arrays += [one.gradcam, one.attention, one.channels, one.contributions]
            arrays += [one.features, one.weighed]
        return sum(array.nbytes for array in arrays if array is not None)

    def lacks(self, stage: str, method: str) -> bool:
        """Whether the map of a CAM method at this stage has yet to be computed."""
        return (stage, method, 0) not in self.maps

    def available_methods(self, methods: Sequence[str]) -> tuple[str, ...]:
        """The `methods` that can be computed for this result, in the order of `METHODS`: methods
        that need attention only where attention is a map, methods of many passes only where the
        crop has at most `SMALL` pixels a side."""
        return tuple(
            name
            for name in METHODS
            if name in methods
            and (self.weighs_positions or METHODS[name].needs != "attention")
            and (len(self.crop) <= SMALL or not METHODS[name].slow)
        )

    def with_maps(self, maps: Maps) -> Result:
        """The same with more maps."""
        return replace(self, maps={**self.maps, **maps})


def raw_maps(explanations: Sequence[Explanation]) -> dict[tuple[str, str, int], Floats | None]:
    """The maps of all methods and stages: of the target, and of the contrast, if any."""
    return {
        (stage, method, role): heatmap.raw.numpy()
        for role, explanation in enumerate(explanations)
        for (stage, method), heatmap in explanation.heatmaps.items()
    }


def stage_maps(explanation: Explanation, stage: str, features: Tensor | None = None) -> StageMaps:
    """What the page shows of one stage; `features` (C, h, w) are the input of its attention."""
    records = explanation.attention.get(stage, ())
    spatial = explanation.spatial(stage)
    channels = next((one.channel for one in records if one.channel is not None), None)
    contributions = explanation.contributions.get(stage)
    before = after = None
    gates = next((one.weights for one in records if one.kind in ("channel", "volume")), None)
    if gates is not None and features is not None and len(features) == len(gates):
        if gates.ndim == 1:
            gates = gates[:, None, None]  # (C,) -> (C, 1, 1); `volume` is (C, H, W) already
        before, after = _pool(features), _pool(features * gates)
    return StageMaps(
        gradcam=explanation.heatmaps[stage, "gradcam"].raw.numpy(),
        # Copies, or all weights would stay in memory.
        attention=None if spatial is None else spatial.numpy().copy(),
        kind=next((record.kind for record in records if record.spatial is not None), None),
        channels=None if channels is None else channels.numpy().copy(),
        gamma=explanation.provenance["gamma"].get(stage),
        contributions=None if contributions is None else contributions.numpy(),
        features=before,
        weighed=after,
    )


def _pool(features: Tensor) -> Halves:
    """(C, H, W) → (C, h, w), each side at most `FINEST`."""
    height, width = (min(side, FINEST) for side in features.shape[1:])
    return adaptive_avg_pool2d(features, (height, width)).numpy().astype(np.float16)


def _square(picture: Image.Image, crop: Crop) -> Pixels:
    """The part of the picture that the network saw, (SIDE, SIDE, 3), from its full resolution."""
    box = (crop.left, crop.top, crop.right, crop.bottom)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box, reducing_gap=3))


def _shrink(picture: Image.Image, crop: Crop) -> tuple[Pixels, Crop]:
    """The whole picture with a longer side of `WHOLE` pixels, and where the crop lies in it."""
    scale = WHOLE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    x, y = width / picture.width, height / picture.height
    small = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
    box = Crop(crop.left * x, crop.top * y, crop.right * x, crop.bottom * y, width, height)
    return np.asarray(small), box

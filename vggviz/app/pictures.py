"""What a session keeps of a result, and pictures as data URIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from vggviz.app.inputs import Given, refusal
from vggviz.explanation import Explanation
from vggviz.images import Crop
from vggviz.networks import STAGES
from vggviz.plotting import data_uri
from vggviz.types import AttentionRecord, Kind, Prediction, Ranked

__all__ = [
    "SIDE",
    "Floats",
    "Given",
    "Pixels",
    "Place",
    "Question",
    "Shown",
    "data_uri",
    "refusal",
    "still",
]

Pixels: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]
Halves: TypeAlias = npt.NDArray[np.float16]

SIDE = 448  # pixels of the square that maps are laid on: enough for a projector
WHOLE = 640  # pixels of the whole picture's longer side
FINEST = 28  # cells a side of the features that a session keeps: less than 2 MB in all


class Question(NamedTuple):
    """What was asked: the picture by its path, which holds a hash of its content, and of what."""

    path: str | None
    weights: str
    attention: str
    target: str
    contrast: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What one stage shows: raw maps (h, w), channel weights (C,), and γ where there is one.

    Where channels are weighed, `features` (C, h, w) are those that arrive, and `weighed` the same
    times their weights: averaged over areas to at most `FINEST` cells a side, in half precision.
    """

    gradcam: Floats
    attention: Floats | None
    kind: Kind | None
    channels: Floats | None
    gamma: float | None
    features: Halves | None = None
    weighed: Halves | None = None

    @property
    def weighs(self) -> bool:
        """Whether there is attention at this stage."""
        return self.attention is not None or self.channels is not None


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a session keeps of an explanation, so that a view needs no network: all that is drawn.

    Full attention is left behind: that of one self-attention stage can take 150 MB. `crop` is what
    the network saw, (S, S, 3); `square` the same part of the picture, (SIDE, SIDE, 3); `picture`
    the whole of it, where `box` says which part that is; `question` what was asked, `details` the
    explanation as JSON types. `off` are the likeliest classes with attention switched off, None
    where there is none, and `off_shares` its probabilities of the classes in `top`. `maps` are raw
    maps of CAM methods by (stage, method, which class: 0 the target, 1 the contrast), None where
    the method has no map at that stage.
    """

    question: Question
    details: Mapping[str, Any]
    crop: Pixels
    square: Pixels
    picture: Pixels
    box: Crop
    top: tuple[Ranked, ...]
    off: tuple[Ranked, ...] | None
    off_shares: tuple[float, ...]
    target: Ranked
    contrast: Ranked | None
    weights: str
    attention: str
    trained: str
    places: Mapping[str, Place]
    maps: Mapping[tuple[str, str, int], Floats | None]

    def __deepcopy__(self, memo: object) -> Shown:
        """Itself: nothing of it changes, and Gradio would copy it for every visitor."""
        return self

    @classmethod
    def of(
        cls,
        explanations: Sequence[Explanation],
        given: Given,
        question: Question,
        off: Prediction | None = None,
    ) -> Shown:
        """What to keep of explanations of what was given: for the target, and for the contrast.

        Grad-CAM must be there at all five stages. `off` is the prediction without attention.
        """
        first = explanations[0]
        provenance = first.provenance
        top = first.prediction.top(5)
        shares = {ranked.index: ranked.probability for ranked in off.ranked} if off else {}
        picture, box = _small(given.image, first.crop)
        return cls(
            question=question,
            details=first.to_json(),
            crop=first.image,
            square=_square(given.image, first.crop),
            picture=picture,
            box=box,
            top=top,
            off=off.top(5) if off else None,
            off_shares=tuple(shares[ranked.index] for ranked in top) if off else (),
            target=first.target,
            contrast=explanations[1].target if len(explanations) > 1 else None,
            weights=provenance["weights"],
            attention=provenance["config"]["attention"],
            trained=provenance["trained"],
            places={stage: _place(first, stage) for stage in STAGES},
            maps=_maps(explanations),
        )

    @property
    def size(self) -> int:
        """Bytes of all pictures and maps."""
        arrays: list[npt.NDArray[Any] | None] = [self.crop, self.square, self.picture]
        arrays += self.maps.values()
        for place in self.places.values():
            arrays += [place.gradcam, place.attention, place.channels]
            arrays += [place.features, place.weighed]
        return sum(array.nbytes for array in arrays if array is not None)

    def with_maps(
        self, explanations: Sequence[Explanation], stages: Sequence[str], method: str
    ) -> Shown:
        """The same with the maps of one more method at some stages."""
        none = {(stage, method, which): None for stage in stages for which in (0, 1)}
        return replace(self, maps={**self.maps, **none, **_maps(explanations)})


def still(shown: Shown | None) -> Given | None:
    """The picture of the last result, for when there is none: the browser takes it away before it
    turns on the camera, and putting it back would turn that off."""
    path = shown.question.path if shown else None
    return Given(Path(path), path) if path else None


def _maps(explanations: Sequence[Explanation]) -> dict[tuple[str, str, int], Floats | None]:
    return {
        (stage, method, which): heatmap.raw.numpy()
        for which, explanation in enumerate(explanations)
        for (stage, method), heatmap in explanation.heatmaps.items()
    }


def _place(explanation: Explanation, stage: str) -> Place:
    records = explanation.attention.get(stage, ())
    spatial = _first(records, "spatial")
    channel = _first(records, "channel")
    features = weighed = None
    if channel and stage in explanation.features:
        arriving = explanation.features[stage]
        weights = next(r.weights for r in records if r.channel is not None)
        if weights.ndim == 1:
            weights = weights[:, None, None]  # (C,) -> (C, 1, 1); `volume` is (C, H, W) already
        features, weighed = _kept(arriving), _kept(arriving * weights)
    return Place(
        gradcam=explanation.heatmaps[stage, "gradcam"].raw.numpy(),
        attention=spatial and spatial[1],
        kind=spatial and spatial[0],
        channels=channel and channel[1],
        gamma=explanation.provenance["gamma"].get(stage),
        features=features,
        weighed=weighed,
    )


def _kept(features: Tensor) -> Halves:
    """(C, H, W) → (C, h, w), each side at most `FINEST`."""
    height, width = (min(side, FINEST) for side in features.shape[1:])
    return adaptive_avg_pool2d(features, (height, width)).numpy().astype(np.float16)


def _first(records: tuple[AttentionRecord, ...], view: str) -> tuple[Kind, Floats] | None:
    """The first record that has this view, as its kind and values of its own."""
    for record in records:
        if (values := getattr(record, view)) is not None:
            return record.kind, values.numpy().copy()  # a view would keep the whole map alive
    return None


def _square(picture: Image.Image, crop: Crop) -> Pixels:
    """The part of the picture that the network saw, as sharp as the picture is."""
    box = (crop.left, crop.top, crop.right, crop.bottom)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box, reducing_gap=3))


def _small(picture: Image.Image, crop: Crop) -> tuple[Pixels, Crop]:
    """The whole picture with a longer side of `WHOLE` pixels, and where the crop lies in it."""
    scale = WHOLE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    x, y = width / picture.width, height / picture.height
    small = picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
    box = Crop(crop.left * x, crop.top * y, crop.right * x, crop.bottom * y, width, height)
    return np.asarray(small), box

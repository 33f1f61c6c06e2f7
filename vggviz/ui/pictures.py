"""Pictures at the page's border: the safe input, what a session keeps of a result, data URIs."""

from __future__ import annotations

import base64
import html
import io
from abc import ABCMeta
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import gradio as gr
import numpy as np
import numpy.typing as npt
from gradio.component_meta import ComponentMeta
from gradio.data_classes import ImageData
from PIL import Image

from vggviz.explanation import Explanation
from vggviz.images import Crop, ImageError, open_image
from vggviz.types import AttentionRecord, Kind, Ranked
from vggviz.vgg import SITES

Pixels: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.float32]

SIDE = 448  # pixels of the square that maps are laid on: enough for a projector


class NoStub(ComponentMeta):
    """Gradio's metaclass, but without the .pyi file that it writes beside a component's source."""

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> type:
        return ABCMeta.__new__(cls, name, bases, attrs)


class Given(NamedTuple):
    """A picture that came in, upright RGB, and where it lies, so that the page can go back."""

    image: Image.Image
    path: str | None = None


class Picture(gr.Image, metaclass=NoStub):
    """Gradio's picture input, read by `open_image`: what was given, or a sentence in a toast."""

    is_template = True  # the browser draws it as the Image that it extends

    def preprocess(self, payload: ImageData | None) -> Given | None:  # type: ignore[override]
        """What was uploaded, None where nothing was. Raises gr.Error, never with a path."""
        if payload is None:
            return None
        try:
            if payload.path:
                return Given(open_image(payload.path), payload.path)
            return Given(open_image(_decoded(payload.url or "")))
        except ImageError as error:
            raise refusal(str(error)) from error


class Choice(gr.Dropdown, metaclass=NoStub):
    """A dropdown whose choices follow from another one, so they are checked where they are used.

    Gradio would hold an API client's choice against those that the page opened with.
    """

    is_template = True

    def preprocess(self, payload: Any) -> str:
        """The value that was chosen or sent, '' for none."""
        return "" if payload is None else str(payload)


def _decoded(url: str) -> bytes:
    """The bytes of a base64 data URI, as API clients may send."""
    head, _, body = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64")):
        raise ImageError("The picture did not arrive: please choose it again.")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise ImageError("The picture's base64 is damaged.") from error


def refusal(sentence: str) -> gr.Error:
    """A toast. The sentence may quote a file's name or what was typed, so it is no markup."""
    return gr.Error(html.escape(sentence, quote=False), print_exception=False)


class Question(NamedTuple):
    """What was asked: the picture by its path, which holds a hash of its content, and of what."""

    path: str | None
    weights: str
    attention: str
    target: str


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What one site shows: raw maps (h, w), channel weights (C,), and γ where there is one."""

    gradcam: Floats
    attention: Floats | None
    kind: Kind | None
    channels: Floats | None
    gamma: float | None

    @property
    def weighs(self) -> bool:
        """Whether there is attention at this site."""
        return self.attention is not None or self.channels is not None


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a session keeps of an explanation, so that a view needs no network: all that is drawn.

    Full attention is left behind: that of one self-attention site can take 150 MB. `crop` is what
    the network saw, (S, S, 3); `square` the same part of the picture, (SIDE, SIDE, 3);
    `question` what was asked, `details` the explanation as JSON types.
    """

    question: Question
    details: Mapping[str, Any]
    crop: Pixels
    square: Pixels
    top: tuple[Ranked, ...]
    target: Ranked
    weights: str
    attention: str
    trained: str
    places: Mapping[str, Place]

    @classmethod
    def of(cls, explanation: Explanation, given: Given, question: Question) -> Shown:
        """What to keep of an explanation, with Grad-CAM at all five sites, of what was given."""
        provenance = explanation.provenance
        return cls(
            question=question,
            details=explanation.to_json(),
            crop=explanation.image,
            square=_square(given.image, explanation.crop),
            top=explanation.prediction.top(5),
            target=explanation.target,
            weights=provenance["weights"],
            attention=provenance["config"]["attention"],
            trained=provenance["trained"],
            places={site: _place(explanation, site) for site in SITES},
        )


def _place(explanation: Explanation, site: str) -> Place:
    records = explanation.attention.get(site, ())
    spatial = _first(records, "spatial")
    channel = _first(records, "channel")
    return Place(
        gradcam=explanation.heatmaps[site, "gradcam"].raw.numpy(),
        attention=spatial and spatial[1],
        kind=spatial and spatial[0],
        channels=channel and channel[1],
        gamma=explanation.provenance["gamma"].get(site),
    )


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


def data_uri(pixels: Pixels, kind: str = "jpeg") -> str:
    """uint8 RGB (H, W, 3) as a data URI, exact with kind 'png'.

    What travels inside the answer can't be fetched half written, nor by anyone else, and leaves
    nothing on the disk.
    """
    file = io.BytesIO()
    how: dict[str, Any] = {"quality": 88, "subsampling": 0} if kind == "jpeg" else {}
    Image.fromarray(pixels).save(file, kind, **how)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"

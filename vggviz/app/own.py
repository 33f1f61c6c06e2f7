"""Weights that a visitor uploads: what a page that many share accepts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.data_classes import FileData

from vggviz.app.inputs import NoStub
from vggviz.explainer import Explainer
from vggviz.weights import STOCK, WeightsError, fingerprint, read_card, stock_file

SIZE = 24 << 20
"""The most bytes of a file: a whole network of tiny50's size has 10.1 MB, its adapters less, and
half as much again leaves room for more width or classes."""
HEADER = 1 << 20  # bytes of JSON: thousands of labels
MOST_NETWORKS = 8  # of a session: their labels are in memory
CLASSES = 2000  # a browser draws them all, in a list
SIDES = range(
    32, 257
)  # pixels that a network may ask for: five poolings need 32; memory grows² ...
RESIZED = 512  # ... and pictures are resized to this before they are cropped


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """A network of one session: its file, which is deleted after an hour, and what it holds.

    `fingerprint`, the SHA-256 of the file, is its key: who has no such file can't guess it.
    """

    file: Path
    fingerprint: str
    name: str
    trained: str
    attention: str
    labels: tuple[str, ...]

    @classmethod
    def admit(cls, file: Path) -> OwnNetwork:
        """What a file says it is; no tensor is read. Raises WeightsError, never with a path."""
        if file.suffix != ".safetensors":
            raise WeightsError("upload_ending", name=file.name)
        if file.stat().st_size > SIZE:
            raise WeightsError("upload_too_large", name=file.name, most=SIZE >> 20)
        card = read_card(file, HEADER)
        if len(card.labels) > CLASSES:
            raise WeightsError(
                "too_many_classes", name=file.name, count=len(card.labels), most=CLASSES
            )
        if card.preprocess.size not in SIDES or card.preprocess.resize > RESIZED:
            raise WeightsError(
                "upload_preprocess",
                name=file.name,
                size=card.preprocess.size,
                resize=card.preprocess.resize,
                smallest=SIDES[0],
                largest=SIDES[-1],
                most=RESIZED,
            )
        under = card.backbone
        if under is not None and under.is_file:
            raise WeightsError("upload_needs_file", name=file.name, backbone=under.weights)
        stock = under is not None and under.weights in STOCK and stock_file(under.weights)
        if stock and not stock.is_file():  # no stranger's file starts a download
            raise WeightsError("backbone_not_here", name=file.name, backbone=under)
        return cls(
            file=file,
            fingerprint=fingerprint(file),
            name=file.stem,
            trained=card.trained,
            attention=card.config.attention,
            labels=card.labels,
        )

    def load(self) -> Explainer:
        """The network. Raises WeightsError where the file is gone or does not hold what it says."""
        gone = WeightsError("upload_gone", name=self.file.name)
        if not self.file.is_file():
            raise gone
        explainer = Explainer.load(self.file)
        if explainer.card.fingerprint != self.fingerprint:  # or others would get it under this key
            raise gone
        return explainer


class Upload(gr.UploadButton, metaclass=NoStub):
    """Gradio's upload button; `OwnNetwork.admit` checks the file."""

    is_template = True

    def preprocess(self, payload: FileData | None) -> Path | None:  # type: ignore[override]
        """Where the file lies, None where none came."""
        return None if payload is None else Path(payload.path)

"""Weights of one's own at the page's border: what a page that many share accepts and keeps."""

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
KEPT = 8  # networks in a session: their labels are in memory
CLASSES = 2000  # a browser draws them all, in a list
SIDES = range(
    32, 257
)  # pixels that a network may ask for: five poolings need 32; memory grows² ...
RESIZED = 512  # ... and pictures are resized to this before they are cropped


@dataclass(frozen=True, slots=True)
class Own:
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
    def admit(cls, file: Path) -> Own:
        """What a file says it is; no tensor is read. Raises WeightsError, never with a path."""
        if file.suffix != ".safetensors":
            raise WeightsError(f"{file.name} is no .safetensors file, as training writes one")
        if file.stat().st_size > SIZE:
            raise WeightsError(
                f"{file.name} is too large: at most {SIZE >> 20} MB can be uploaded; on your "
                "own machine `vggviz serve --weights FILE` opens a file of any size"
            )
        card = read_card(file, HEADER)
        if len(card.labels) > CLASSES:
            raise WeightsError(f"{file.name} has {len(card.labels)} classes, {CLASSES} at most")
        if card.preprocess.size not in SIDES or card.preprocess.resize > RESIZED:
            raise WeightsError(
                f"{file.name} wants pictures of {card.preprocess.size} pixels, resized to "
                f"{card.preprocess.resize}: here it is {SIDES[0]} to {SIDES[-1]}, and {RESIZED}"
            )
        under = card.backbone
        if under is not None and under.is_file:
            raise WeightsError(
                f"{file.name} needs the file {under.weights} beside it, which a page can't have: "
                "train on tiny50, or with --out in another folder for a whole file"
            )
        stock = under is not None and under.weights in STOCK and stock_file(under.weights)
        if stock and not stock.is_file():  # no stranger's file starts a download
            raise WeightsError(f"{file.name} needs the backbone {under}, which is not here")
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
        gone = WeightsError(
            f"the file {self.file.name} is no longer here, since uploads are kept for an hour: "
            "please upload it again"
        )
        if not self.file.is_file():
            raise gone
        explainer = Explainer.load(self.file)
        if explainer.card.fingerprint != self.fingerprint:  # or others would get it under this key
            raise gone
        return explainer


class Upload(gr.UploadButton, metaclass=NoStub):
    """Gradio's upload button; whatever came in is judged by `Own.admit`."""

    is_template = True

    def preprocess(self, payload: FileData | None) -> Path | None:  # type: ignore[override]
        """Where the file lies, None where none came."""
        return None if payload is None else Path(payload.path)

"""Weights that a visitor uploads: what a page that many share accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import gradio as gr
import torch
from safetensors.torch import load_file
from torch import Tensor

from vggviz.app.upload_check import read_shapes
from vggviz.explainer import Explainer
from vggviz.gradio_private import NoStub
from vggviz.weights import STOCK, WeightsError, fingerprint, read_card, stock_file

SIZE = 24 << 20
"""The most bytes of a file: a whole network of everyday's size has 10.1 MB, its adapters less, and
half as much again leaves room for more width or classes."""
PICKLED = (".pth", ".pt", ".ckpt", ".tar", ".bin")
HEADER = 1 << 20  # bytes of JSON: thousands of labels
MOST_NETWORKS = 8  # of a session: their labels are in memory
CLASSES = 2000  # a browser draws them all, in a list
# Pixels a side of a network's input (five poolings need 32; memory grows with the square), and of
# the picture before it is cropped.
SIDES = range(32, 257)
RESIZED = 512


class Fit(NamedTuple):
    """The key of the page's network that uploaded weights fit, its attention type, and the number
    of classes of the weights."""

    network: str
    attention: str
    classes: int


FindFit: TypeAlias = Callable[[Mapping[str, Sequence[int]]], Fit | None]
"""Returns the fit of tensors from their shapes by name."""


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """A network of one session: its file, which is deleted after an hour, and its description.

    `fingerprint`, the SHA-256 of the file, is its key: nobody without the file can guess it.
    `network` is the key of the page's network that a file without a description fits, else ''.
    `unmeasured` is as in its `Card`.
    """

    file: Path
    fingerprint: str
    name: str
    trained: str
    attention: str
    labels: tuple[str, ...]
    network: str = ""
    unmeasured: bool = False

    @classmethod
    def admit(cls, file: Path, find_fit: FindFit = lambda shapes: None) -> OwnNetwork:
        """The network that a file describes; or, where it has no description, the one that its
        tensors fit by name and shape, as `find_fit` says.

        No tensor is read. Raises WeightsError, never with a path.
        """
        if file.suffix in PICKLED:
            raise WeightsError("upload_pickle", name=file.name, new=f"{file.stem}.safetensors")
        if file.suffix != ".safetensors":
            raise WeightsError("upload_ending", name=file.name)
        if file.stat().st_size > SIZE:
            raise WeightsError("upload_too_large", name=file.name, most=SIZE >> 20)
        try:
            card = read_card(file, HEADER)
        except WeightsError as error:
            if error.code != "no_description":
                raise
            return cls._without_description(file, find_fit)
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
            unmeasured=card.unmeasured,
        )

    @classmethod
    def _without_description(cls, file: Path, find_fit: FindFit) -> OwnNetwork:
        """The network of a file without a description, which may be one of any kind."""
        found = find_fit(read_shapes(file))
        if found is None:
            raise WeightsError("fits_no_network", name=file.name)
        if found.classes > CLASSES:
            counts = {"count": found.classes, "most": CLASSES}
            raise WeightsError("too_many_classes", name=file.name, **counts)
        labels = tuple(f"class {k}" for k in range(found.classes))
        return cls(
            file, fingerprint(file), file.stem, "all", found.attention, labels, found.network
        )

    def read_plain(self) -> dict[str, Tensor]:
        """The tensors of a file without a description, as copies: reading a memory-mapped file that
        was truncated would kill the process. Raises WeightsError where the file is missing or has
        changed, and for values that are not finite."""
        gone = WeightsError("upload_gone", name=self.file.name)
        if not self.file.is_file() or fingerprint(self.file) != self.fingerprint:
            raise gone
        state = {key: x.clone() for key, x in load_file(self.file).items()}
        for key, x in state.items():
            if x.is_floating_point() and not x.isfinite().all():
                raise WeightsError("not_finite", name=self.file.name, tensor=key)
        return state

    def load(self, device: str | torch.device = "cpu") -> Explainer:
        """The network. Raises WeightsError where the file is missing, has changed, or doesn't fit
        its description."""
        gone = WeightsError("upload_gone", name=self.file.name)
        if not self.file.is_file():
            raise gone
        explainer = Explainer.load(self.file, device=device)
        if explainer.card.fingerprint != self.fingerprint:  # it would be served under this key
            raise gone
        return explainer


class Upload(gr.UploadButton, metaclass=NoStub):
    """Gradio's upload button; `OwnNetwork.admit` checks the file."""

    is_template = True

    def preprocess(self, payload: gr.FileData | None) -> Path | None:  # type: ignore[override]
        """The path of the uploaded file, None where there is none."""
        return None if payload is None else Path(payload.path)

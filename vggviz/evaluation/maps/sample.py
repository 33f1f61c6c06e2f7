"""The sample of pictures on which maps are measured, and examples drawn from it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vggviz.data import DataError, Dataset
from vggviz.evaluation.pictures import Pictures, batches, classes_of
from vggviz.images import ImageError, Preprocess
from vggviz.plotting import overlay, stretch
from vggviz.weights import Card, ForeignCard

__all__ = ["Sample", "overlay_png"]

SIDE = 160  # of an example, in pixels


class Sample:
    """`count` pictures of `dataset` in an order that is drawn, so that the first of them are a
    sample too; read once for each preprocessing, `size` at a time."""

    def __init__(
        self,
        dataset: Dataset,
        count: int,
        seed: int,
        size: int,
        unreadable: Callable[[ImageError], None] | None,
    ) -> None:
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
        self.dataset = dataset.subset(order[:count])
        self._size = size
        self._unreadable = unreadable
        self._loaded: dict[Preprocess, Pictures] = {}

    def fingerprint(self) -> str:
        """SHA-256 of all that numbers depend on: the files and their content, classes, boxes."""
        data = self.dataset
        boxes = None if data.boxes is None else data.boxes.tolist()
        facts = [data.labels, data.wnids, data.targets.tolist(), boxes]
        files = [(file, hashlib.sha256(self._content(file)).hexdigest()) for file in data.files]
        return hashlib.sha256(json.dumps([facts, files]).encode()).hexdigest()

    def pictures(self, card: Card | ForeignCard) -> Pictures:
        """The pictures with their classes as outputs of the network of `card`.

        Raises DataError for a class that it does not know, and where no picture can be read;
        ImageError for one that can't be where `unreadable` is None.
        """
        classes = classes_of(self.dataset, card)
        if card.preprocess not in self._loaded:
            self._loaded[card.preprocess] = self._load(card.preprocess)
        loaded = self._loaded[card.preprocess]
        return replace(loaded, targets=classes[loaded.targets])

    def _content(self, file: str) -> bytes:
        try:
            return self.dataset.read(file)
        except (ImageError, OSError):
            return b""  # the error is reported when the picture is opened

    def _load(self, preprocess: Preprocess) -> Pictures:
        """With the data's own classes."""

        def leave_out(_: int, error: ImageError) -> None:
            if self._unreadable is None:
                raise error
            self._unreadable(error)

        found = batches(self.dataset, [preprocess], self._size, unreadable=leave_out)
        parts = [part[preprocess] for part in found]
        if not parts:
            raise DataError("none of the pictures can be read")
        return Pictures.joined(parts)


def overlay_png(pixels: npt.NDArray[np.uint8], values: Tensor) -> str:
    """A map (h, w) over its picture (S, S, 3), 160 × 160: a PNG in base64."""
    small = cv2.resize(pixels, (SIDE, SIDE)).astype(np.uint8)
    drawn = overlay(small, stretch(values.numpy())[0])
    _, code = cv2.imencode(".png", drawn[..., ::-1])  # OpenCV wants blue first
    return base64.b64encode(code.tobytes()).decode()

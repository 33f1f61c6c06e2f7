"""Which pictures maps are judged on, and how examples of them are drawn."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from vggviz.data import DataError, Dataset
from vggviz.evaluation.maps.job import Pictures
from vggviz.evaluation.pictures import batches, classes_of
from vggviz.images import ImageError, Preprocess
from vggviz.plotting import overlay, stretch
from vggviz.weights import Card, ForeignCard

__all__ = ["Sample", "drawing"]

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
        self._read: dict[Preprocess, Pictures] = {}

    def fingerprint(self) -> str:
        """SHA-256 of all that numbers depend on: the files with what is in them, classes, boxes."""
        data = self.dataset
        boxes = None if data.boxes is None else data.boxes.tolist()
        facts = [data.labels, data.wnids, data.targets.tolist(), boxes]
        files = [(file, hashlib.sha256(self._content(file)).hexdigest()) for file in data.files]
        return hashlib.sha256(json.dumps([facts, files]).encode()).hexdigest()

    def seen_by(self, card: Card | ForeignCard) -> Pictures:
        """The pictures with their classes as outputs of the network of `card`.

        Raises DataError for a class that it does not know, and where no picture can be read;
        ImageError for one that can't be where no one takes the errors.
        """
        classes = classes_of(self.dataset, card)
        if card.preprocess not in self._read:
            self._read[card.preprocess] = self._load(card.preprocess)
        there = self._read[card.preprocess]
        return Pictures(there.images, classes[there.targets], there.boxes, there.names)

    def _content(self, file: str) -> bytes:
        try:
            return self.dataset.read(file)
        except (ImageError, OSError):
            return b""  # it is told of when it is looked at

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
        indices = torch.cat([part.indices for part in parts])
        boxes = [part.boxes for part in parts if part.boxes is not None]
        return Pictures(
            torch.cat([part.images for part in parts]),
            self.dataset.targets[indices],
            torch.cat(boxes) if boxes else None,
            tuple(self.dataset.files[index] for index in indices.tolist()),
        )


def drawing(preprocess: Preprocess) -> Callable[[Tensor, Tensor], str]:
    """A function that lays a map (h, w) over its picture (3, S, S): a PNG in base64."""

    def draw(image: Tensor, values: Tensor) -> str:
        pixels = cv2.resize(preprocess.denormalise(image), (SIDE, SIDE)).astype(np.uint8)
        drawn = overlay(pixels, stretch(values.numpy())[0])
        _, code = cv2.imencode(".png", drawn[..., ::-1])  # OpenCV wants blue first
        return base64.b64encode(code.tobytes()).decode()

    return draw

"""Ten small pictures of a bright blob, with boxes, and networks that are given a card for them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from vggviz.data import Dataset
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.weights import Card

LABELS = ("ant", "bee", "cow")
PREPROCESS = Preprocess(size=32, resize=40)  # of 40 × 60 pictures the columns 14 … 46 are seen
# left, top, right, bottom of a bright blob; its box is one pixel larger all around.
BLOBS = [
    (26, 16, 34, 24), (16, 6, 22, 12), (36, 26, 44, 34), (24, 14, 36, 26), (17, 25, 23, 31),
    (37, 7, 43, 13), (25, 15, 30, 20), (28, 18, 33, 23), (20, 8, 40, 32), (18, 26, 24, 33),
]  # fmt: skip


def png(blob: tuple[int, int, int, int], seed: int) -> bytes:
    """60 × 40, dark noise, and a bright blob with one pixel that is brighter still."""
    noise = np.random.default_rng(seed).integers(0, 60, (40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    left, top, right, bottom = blob
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), (200, 200, 200))
    image.putpixel(((left + right) // 2, (top + bottom) // 2), (255, 255, 255))
    written = io.BytesIO()
    image.save(written, "png")
    return written.getvalue()


def blobs(boxes: bool = True) -> Dataset:
    files = {f"{index}.png": png(blob, index) for index, blob in enumerate(BLOBS)}
    grown = torch.tensor(BLOBS).float() + torch.tensor([-1.0, -1, 1, 1])
    return Dataset(
        files=tuple(files),
        targets=torch.arange(len(BLOBS)) % 3,
        labels=LABELS,
        wnids=(),
        boxes=grown[:, None].unbind() if boxes else None,
        read=files.__getitem__,
    )


def subject(model: Network, labels: Sequence[str] = LABELS, **changes: Any) -> SimpleNamespace:
    card = Card("small", model.config, PREPROCESS, tuple(labels))
    return SimpleNamespace(model=model.eval().requires_grad_(False), card=replace(card, **changes))

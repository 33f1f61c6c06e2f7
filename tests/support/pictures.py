"""Pictures as bytes, and what `open_image` makes of them."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vggviz.images import ImageError, open_image


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pixels(source: Any, **options: Any) -> np.ndarray:
    image = open_image(source, **options)
    assert image.mode == "RGB"
    assert type(image) is Image.Image
    assert image.info.keys() <= {"range", "animated"}
    return np.asarray(image)


def refusal(source: Any) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(source)
    message = str(caught.value)
    assert re.fullmatch(r"[^\n]+[^.\n]\.", message), "one sentence"
    return message

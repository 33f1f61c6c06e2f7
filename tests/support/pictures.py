"""Pictures as bytes, and what `open_image` makes of them."""

from __future__ import annotations

import io
import re
from pathlib import Path
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


def write_squares(folder: Path, count: int = 40) -> Path:
    """Pictures of noise in a new folder, each with a bright square somewhere, of one of three
    colours."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = generator.integers(0, 80, (40, 40, 3))
        row, column = generator.integers(0, 24, 2)
        pixels[row : row + 16, column : column + 16, number % 3] += 150
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder

"""The bundled pictures, and the strip of buttons that offers them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vggviz.app.pictures import data_uri
from vggviz.app.texts import say
from vggviz.images import open_image
from vggviz.weights import assets_folder

__all__ = ["PICK", "Example", "examples", "strip"]


class Example(NamedTuple):
    """A bundled picture: its file, what it shows, and a sentence on it."""

    file: Path
    label: str
    caption: str


def examples() -> list[Example]:
    """The bundled pictures."""
    folder = (assets_folder() / "examples").resolve()
    listed = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    return [Example(folder / line["file"], line["label"], line["caption"]) for line in listed]


def strip(pictures: Sequence[Example], lang: str = "en") -> str:
    """A button for each picture; `PICK` tells which one was clicked."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" title="{escape(example.caption)}" '
        f'aria-label="{escape(say(lang, "shell.example", caption=example.caption))}">'
        f'<img src="{_thumbnail(example.file)}" width="96" height="96" alt=""></button>'
        for index, example in enumerate(pictures)
    )
    return f'<div role="group" aria-label="{say(lang, "shell.examples")}">{buttons}</div>'


@cache  # drawn for every visitor who prefers another language
def _thumbnail(file: Path) -> str:
    image = open_image(file)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return data_uri(np.asarray(image.resize((96, 96), Image.Resampling.BICUBIC, box)), "webp")


PICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-index]");
  if (button) trigger("select", {index: Number(button.dataset.index)});
});
"""
"""The strip's script: a click is a `select` event with the picture's index."""

"""The bundled pictures, and the strip of buttons that offers them."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vggviz.files import atomic_write
from vggviz.gradio_private import get_upload_folder
from vggviz.images import open_image
from vggviz.locales import LANGUAGES, text
from vggviz.plotting import data_uri
from vggviz.weights import assets_folder

__all__ = [
    "PICK",
    "Example",
    "PaintingGoal",
    "example_classes",
    "examples",
    "is_labelled_error",
    "is_shown",
    "painting_goal",
    "strip",
]

log = logging.getLogger(__name__)


class Example(NamedTuple):
    """A bundled picture: its file, the class that it shows, a sentence on it by language, and a
    second class where it shows two."""

    file: Path
    label: str
    captions: Mapping[str, str]
    other: str = ""


def examples() -> list[Example]:
    """The bundled pictures, as copies beside the uploads: browsers get the paths of pictures, and
    these should not reveal where the package is installed.

    Where the copies can't be written, the originals are returned.
    """
    bundled = (assets_folder() / "examples").resolve()
    folder = Path(get_upload_folder()).resolve() / "examples"
    entries = _entries()
    copied: list[Path] = []
    try:
        for entry in entries:
            content = (bundled / entry["file"]).read_bytes()
            copy = folder / entry["file"]
            if not copy.is_file() or copy.read_bytes() != content:
                with atomic_write(copy) as part:
                    part.write_bytes(content)
                copied.append(copy)
    except OSError as error:
        log.warning("the bundled pictures could not be copied: errno %s", error.errno)
        for copy in copied:  # others may use those that were there
            copy.unlink(missing_ok=True)
        folder = bundled
    return [
        Example(
            folder / entry["file"],
            entry["label"],
            {"en": entry["caption"], **{lang: entry[lang] for lang in LANGUAGES if lang in entry}},
            entry.get("other", ""),
        )
        for entry in entries
    ]


@cache
def _entries() -> list[dict[str, Any]]:
    """What examples.json says of each picture: its `file`, `label`, its `synonyms` in other
    networks, WordNet id and `caption`, which is also there in other languages, by their codes; the
    `other` class that it shows; the `goal` of painting (`PaintingGoal`); whether it is a
    `labelled_error`, which stays among them to be discussed, as bundled networks get it wrong."""
    file = assets_folder() / "examples" / "examples.json"
    entries: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return entries


def example_classes(path: str | None, known: Collection[str] = ()) -> tuple[str, ...]:
    """The classes that an example shows, by its path as `examples` gives it, under the names that
    they have among a network's labels `known`; () for a visitor's own picture."""
    entry = _entry(path)
    if not entry:
        return ()
    names = (entry["label"], *entry.get("synonyms", ()))
    first = next((name for name in names if name in known), names[0])
    return (first, entry["other"]) if "other" in entry else (first,)


class PaintingGoal(NamedTuple):
    """A class that the network everyday with CBAM says of an example when attention at `stage` is
    painted as `code` (see `networks.paint_code`); found by gradient ascent."""

    label: str
    stage: str
    code: str


def painting_goal(path: str | None) -> PaintingGoal | None:
    """What painting attention can make the network say of an example, by its path as `examples`
    gives it; None where nothing was found, and for a visitor's own picture."""
    goal = _entry(path).get("goal")
    return PaintingGoal(**goal) if goal else None


def is_shown(path: str | None, label: str) -> bool:
    """Whether an example shows the class with this label or synonym."""
    entry = _entry(path)
    return label in (entry.get("label"), entry.get("other"), *entry.get("synonyms", ()))


def is_labelled_error(path: str | None) -> bool:
    """Whether this example stays among the others since networks get it wrong."""
    return bool(_entry(path).get("labelled_error"))


def _entry(path: str | None) -> dict[str, Any]:
    """What examples.json says of the picture at this path; {} for a visitor's own picture."""
    file = Path(path or "")
    if file.parent.name != "examples":  # uploads lie in folders named by a hash
        return {}
    return next((entry for entry in _entries() if entry["file"] == file.name), {})


def strip(pictures: Sequence[Example], lang: str = "en") -> str:
    """The HTML of a button for each picture; `PICK` reports which one was clicked."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" title="{escape(caption)}" '
        f'aria-label="{escape(text(lang, "shell.example", caption=caption))}">'
        f'<img src="{_thumbnail(example.file)}" width="96" height="96" alt=""></button>'
        for index, example in enumerate(pictures)
        for caption in [example.captions.get(lang, example.captions["en"])]
    )
    return f'<div role="group" aria-label="{text(lang, "shell.examples")}">{buttons}</div>'


@cache  # the strip is rendered anew for every visitor who prefers another language
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

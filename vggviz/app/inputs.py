"""What comes in at the page's border: the safe picture input, and a dropdown that trusts no one."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from vggviz.cache import digest
from vggviz.gradio_private import ImageData, NoStub, event_data
from vggviz.images import ImageSource
from vggviz.images.isolated import shared_decoder

__all__ = ["Choice", "Given", "Picture", "refusal", "sent"]


LONGEST = 300  # characters of a toast


class Given:
    """A picture that came in, and where it lies, so that the page can go back to it.

    It is read when `image`, upright RGB, or `digest`, which knows its content, is first asked for:
    by then the page knows in which language to say what is wrong with it. Both raise ImageError.
    """

    def __init__(self, source: ImageSource, path: str | None = None) -> None:
        self.source = source
        self.path = path

    @cached_property
    def _content(self) -> tuple[str, ImageSource]:
        return digest(self.source)

    @property
    def digest(self) -> str:
        """The SHA-256 of its content."""
        return self._content[0]

    @cached_property
    def image(self) -> Image.Image:
        """The picture as `open_image` reads it, decoded in a process that holds no other."""
        return shared_decoder().open_image(self._content[1])


class Picture(gr.Image, metaclass=NoStub):
    """Gradio's picture input, but what was given is for `open_image` to read."""

    is_template = True  # the browser draws it as the Image that it extends

    def preprocess(self, payload: ImageData | None) -> Given | None:  # type: ignore[override]
        """What was uploaded, None where nothing was."""
        if payload is None:
            return None
        if payload.path:
            return Given(Path(payload.path), payload.path)
        return Given(_decoded(payload.url or ""))


class Choice(gr.Dropdown, metaclass=NoStub):
    """A dropdown whose choices follow from another one, so they are checked where they are used.

    Gradio would hold an API client's choice against those that the page opened with.
    """

    is_template = True

    def preprocess(self, payload: Any) -> str:
        """The value that was chosen or sent, '' for none."""
        return "" if payload is None else str(payload)


def sent(event: gr.EventData) -> Mapping[str, Any]:
    """What came with an event of the page's scripts. It comes from a browser: its values may be
    anything, and it is empty where it is no object."""
    data = event_data(event)
    return data if isinstance(data, dict) else {}


def _decoded(url: str) -> bytes:
    """The bytes of a base64 data URI, as API clients may send; none where it is not one."""
    head, _, body = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64")):
        return b""
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return b""


def refusal(sentence: str) -> gr.Error:
    """A toast. The sentence may quote a file's name or what was typed, so it is no markup, is cut
    where that was long, and has no half of a pair, which no answer could carry."""
    said = sentence.encode("utf-8", "replace").decode()
    said = said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"
    return gr.Error(html.escape(said, quote=False), print_exception=False)

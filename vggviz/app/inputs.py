"""Input components whose values are not checked by Gradio: pictures stay files, choices texts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from vggviz.cache import picture_digest
from vggviz.gradio_private import ImageData, NoStub
from vggviz.gradio_private import event_data as raw_event_data
from vggviz.images import ImageSource
from vggviz.images.isolated import shared_decoder

__all__ = ["Choice", "Picture", "UploadedPicture", "event_data"]


class UploadedPicture:
    """A visitor's picture or an example: its `source`, and its `path` as the page's picture input
    has it, None for a picture that was sent as data.

    It is read when `image` or `digest` is first used, inside the handler, whose errors are in the
    visitor's language. Both raise ImageError.
    """

    def __init__(self, source: ImageSource, path: str | None = None) -> None:
        self.source = source
        self.path = path

    @cached_property
    def _content(self) -> tuple[str, ImageSource]:
        return picture_digest(self.source)

    @property
    def digest(self) -> str:
        """The SHA-256 of its content."""
        return self._content[0]

    @cached_property
    def image(self) -> Image.Image:
        """The picture, upright RGB, decoded in a process that holds no other."""
        return shared_decoder().open_image(self._content[1])


class Picture(gr.Image, metaclass=NoStub):
    """Gradio's picture input, which gives the file as it is: `open_image` reads it."""

    is_template = True  # the browser draws it as the Image that it extends

    def preprocess(self, payload: ImageData | None) -> UploadedPicture | None:  # type: ignore[override]
        """What was uploaded, None where nothing was."""
        if payload is None:
            return None
        if payload.path:
            return UploadedPicture(Path(payload.path), payload.path)
        return UploadedPicture(_data_uri_bytes(payload.url or ""))


class Choice(gr.Dropdown, metaclass=NoStub):
    """A dropdown whose choices depend on another one: handlers check the value.

    Gradio would check it against the choices that the page opened with.
    """

    is_template = True

    def preprocess(self, payload: Any) -> str:
        """The value that was chosen or sent, '' for none."""
        return "" if payload is None else str(payload)


def event_data(event: gr.EventData) -> Mapping[str, Any]:
    """The data of an event that the page's scripts triggered: its values may be anything, and it
    is empty where it is no object."""
    data = raw_event_data(event)
    return data if isinstance(data, dict) else {}


def _data_uri_bytes(url: str) -> bytes:
    """The bytes of a base64 data URI, as API clients may send; none where it is not one."""
    head, _, body = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64")):
        return b""
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        return b""

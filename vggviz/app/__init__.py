"""The Gradio page: a picture's prediction, attention and class activation maps side by side."""

from __future__ import annotations

from vggviz.app.page import QUEUE, build
from vggviz.app.theme import LAUNCH

__all__ = ["LAUNCH", "QUEUE", "build"]

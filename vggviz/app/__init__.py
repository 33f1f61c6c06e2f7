"""The page: a picture in, and what the network says, weighs and rests on, side by side."""

from __future__ import annotations

from vggviz.app.page import QUEUE, build
from vggviz.app.theme import LAUNCH

__all__ = ["LAUNCH", "QUEUE", "build"]

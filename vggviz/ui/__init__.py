"""The page: a picture in, and what the network says, weighs and rests on, side by side."""

from __future__ import annotations

from vggviz.ui.look import LAUNCH
from vggviz.ui.page import QUEUE, build

__all__ = ["LAUNCH", "QUEUE", "build"]

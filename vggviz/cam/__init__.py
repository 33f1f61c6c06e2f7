"""CAM: after-the-fact maps of what a logit depends on."""

from __future__ import annotations

from vggviz.cam.driver import CAMs, cams
from vggviz.cam.methods import METHODS, known

__all__ = ["METHODS", "CAMs", "cams", "known"]

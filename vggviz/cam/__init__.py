"""Class activation maps: computed afterwards, where in an image a logit depends on the features."""

from __future__ import annotations

from vggviz.cam.driver import CAMs, cams
from vggviz.cam.interface import Targets
from vggviz.cam.methods import METHODS, Method, check_methods

__all__ = ["METHODS", "CAMs", "Method", "Targets", "cams", "check_methods"]

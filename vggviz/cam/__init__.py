"""Class activation maps: computed afterwards, where in an image a logit depends on the features."""

from __future__ import annotations

from vggviz.cam.driver import cams
from vggviz.cam.interface import Targets
from vggviz.cam.methods import METHODS, Method, check_methods
from vggviz.cam.results import CAMs, MapError, heatmap, prediction

__all__ = [
    "METHODS",
    "CAMs",
    "MapError",
    "Method",
    "Targets",
    "cams",
    "check_methods",
    "heatmap",
    "prediction",
]

"""CAM: after-the-fact maps of what a logit depends on."""

from __future__ import annotations

from vggviz.cam.driver import cams
from vggviz.cam.interface import Targets
from vggviz.cam.methods import METHODS, known
from vggviz.cam.results import CAMs, heatmap, prediction

__all__ = ["METHODS", "CAMs", "Targets", "cams", "heatmap", "known", "prediction"]

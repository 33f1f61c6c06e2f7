"""Training, with checkpoints from which a run resumes bit for bit. Needs the extra 'train'."""

from __future__ import annotations

from vggviz.training.config import Progress, TrainConfig, TrainError
from vggviz.training.examples import Examples
from vggviz.training.loop import measure, train

__all__ = ["Examples", "Progress", "TrainConfig", "TrainError", "measure", "train"]

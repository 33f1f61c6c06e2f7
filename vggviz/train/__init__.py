"""Training: augmentation, schedule, checkpoints that resume to the bit. Needs the extra 'train'."""

from __future__ import annotations

from vggviz.train.config import Progress, TrainConfig, TrainError
from vggviz.train.examples import Examples
from vggviz.train.loop import measure, train

__all__ = ["Examples", "Progress", "TrainConfig", "TrainError", "measure", "train"]

"""The loss: labels, a teacher's soft labels, and a price on attention that does not decide."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor

from vggviz.capture import TapReading
from vggviz.train.config import TrainConfig

__all__ = ["indecision", "objective"]


def objective(logits: Tensor, targets: Tensor, soft: Tensor | None, config: TrainConfig) -> Tensor:
    """(1 − d)·cross-entropy + d·T²·KL(teacher_T ‖ student_T), d = `config.distil`; a scalar.

    Hinton, Vinyals, Dean 2015, 'Distilling the Knowledge in a Neural Network', section 2.
    """
    loss = F.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    if soft is None or config.distil == 0:
        return loss
    teacher = (soft.float() / config.temperature).log_softmax(-1)
    student = (logits / config.temperature).log_softmax(-1)
    distance = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (1 - config.distil) * loss + config.distil * config.temperature**2 * distance


def indecision(readings: Iterable[TapReading]) -> Tensor:
    """How little attention decides, a scalar, 0 where it fully does; the mean over taps.

    For gates w in (0, 1): mean(w (1 − w)) + 4 (mean(w) − ½)², each picture by itself: smallest
    where half of the weights are open and half are shut. For distributions p over M: their
    entropy divided by log M. A gate that lets all through, or an average over all places, is a
    picture of nothing; a network pays for it, and so learns to tell what matters.
    """
    terms: list[Tensor] = []
    for reading in readings:
        weights = reading.weights.float()
        if reading.kind in ("token", "pool"):
            entropy = -(weights * weights.clamp_min(1e-9).log()).sum(-1).mean()
            terms.append(entropy / math.log(max(weights.shape[-1], 2)))
        else:
            gates = weights.flatten(1)  # (B, everything of a picture)
            budget = (gates.mean(1) - 0.5).square().mean()
            terms.append((gates * (1 - gates)).mean() + 4 * budget)
    return sum(terms[1:], terms[0]) / len(terms)

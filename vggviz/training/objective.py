"""The loss: labels, a teacher's soft labels, and a price on attention that does not decide."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.hooks.capture import TapReading
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.training.config import TrainConfig
from vggviz.types import Kind

__all__ = ["average_second_half", "counterfactual_loss", "infomax_penalty", "objective"]


def objective(logits: Tensor, targets: Tensor, soft: Tensor | None, config: TrainConfig) -> Tensor:
    """(1 − d)·cross-entropy + d·T²·KL(teacher_T ‖ student_T), d = `distill_weight`; a scalar.

    Hinton, Vinyals, Dean 2015, 'Distilling the Knowledge in a Neural Network', section 2.
    """
    loss = F.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    if soft is None or config.distill_weight == 0:
        return loss
    teacher = (soft.float() / config.temperature).log_softmax(-1)
    student = (logits / config.temperature).log_softmax(-1)
    distance = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    weight = config.distill_weight
    return (1 - weight) * loss + weight * config.temperature**2 * distance


def counterfactual_loss(logits: Tensor, without: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of what attention changes: of `logits` − `without`, those that the network
    gives where each picture's weights have become their mean (see `average_second_half`); a scalar.

    Rao, Chen, Lu, Zhou 2021, 'Counterfactual Attention Learning for Fine-Grained Visual
    Categorization and Re-identification', eq. 6 to 8: a network that its mean would serve as well
    gains nothing, so it learns attention that tells, and to need it.
    """
    return F.cross_entropy(logits - without, targets)


def average_second_half(path: str, kind: Kind, weights: Tensor) -> Tensor:
    """The second half of a batch gets each picture's mean in the place of its weights: a change for
    `vggviz.hooks.capture.intervene`.

    Both halves go through the same norms at once: a network could tell them apart by the
    statistics of two passes, and did.
    """
    learned, other = weights.chunk(2)
    return torch.cat((learned, REPLACEMENTS["uniform"](kind, other, torch.Generator())))


def infomax_penalty(readings: Iterable[TapReading]) -> Tensor:
    """How little attention tells pictures apart, a scalar, 0 where it does most; the mean over
    taps.

    For gates w in (0, 1), over a batch: mean(w (1 − w)) + 4 mean((mean over pictures of w − ½)²):
    smallest where every weight is open for half of the pictures and shut for the others. For
    distributions p over M: 1 − (H(mean of p) − mean of H(p)) / log M, the mutual information of
    picture and place: smallest where each picture has one place, and not all have the same.

    A gate that lets all through, the same pattern for all pictures, or an average over all places
    is a picture of nothing; a network pays for it, and so learns to tell what matters. It is
    regularised information maximisation (Krause, Perona, Gomes 2010, eq. 3), with w (1 − w) for
    the entropy of a gate.
    """
    terms: list[Tensor] = []
    for reading in readings:
        weights = reading.weights.float()
        if reading.kind in ("token", "pool"):
            gain = _entropy(weights.mean(0)).mean() - _entropy(weights).mean()
            terms.append(1 - gain / math.log(max(weights.shape[-1], 2)))
        else:
            gates = weights.flatten(1)  # (B, everything of a picture)
            budget = (gates.mean(0) - 0.5).square().mean()
            terms.append((gates * (1 - gates)).mean() + 4 * budget)
    return sum(terms[1:], terms[0]) / len(terms)


def _entropy(weights: Tensor) -> Tensor:
    """(..., M) → (...), in nats."""
    return -(weights * weights.clamp_min(1e-9).log()).sum(-1)

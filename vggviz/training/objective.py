"""The training loss: cross-entropy, distillation, and two terms on attention."""

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
    """(1 − d)·cross-entropy + d·T²·KL(teacher_T ‖ student_T), a scalar, where d = `distill_weight`,
    T = `temperature`, and `soft` (B, K) are the teacher's logits; cross-entropy alone without them.

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
    """CE(logits − without, targets): the cross-entropy of the effect of attention; a scalar.

    `without` (B, K) are the counterfactual logits, computed with each picture's attention weights
    replaced by their mean (see `average_second_half`); `logits` (B, K), `targets` (B,). The loss is
    high where the mean predicts the class as well as the learned attention does.

    Rao, Chen, Lu, Zhou 2021, 'Counterfactual Attention Learning for Fine-Grained Visual
    Categorization and Re-identification', eq. 6 to 8.
    """
    return F.cross_entropy(logits - without, targets)


def average_second_half(path: str, kind: Kind, weights: Tensor) -> Tensor:
    """Replace the attention weights of the second half of a batch by each picture's mean, for
    `vggviz.hooks.capture.intervene`: (2B, ...) → (2B, ...), the first half unchanged.

    Factual and counterfactual pictures are in one batch, so that batch norms normalise them by the
    same statistics: in two passes the network learns to tell them apart by these.
    """
    factual, rest = weights.chunk(2)
    return torch.cat((factual, REPLACEMENTS["uniform"](kind, rest, torch.Generator())))


def infomax_penalty(readings: Iterable[TapReading]) -> Tensor:
    """Penalty on attention that carries no information about the picture: a scalar ≥ 0, the mean
    over `readings`, whose `weights` have the batch first.

    Gates w in (0, 1): mean(w·(1 − w)) + 4·mean((mean of w over the batch − ½)²), which is 0 where
    every gate is open for half of the pictures and shut for the others. Distributions p over M
    positions (kinds 'token' and 'pool'): 1 − (H(mean of p over the batch) − mean of H(p)) / log M,
    one minus the normalised mutual information of picture and position.

    Krause, Perona, Gomes 2010, 'Discriminative Clustering by Regularized Information
    Maximization', eq. 3, with w·(1 − w) in place of a gate's entropy.
    """
    terms: list[Tensor] = []
    for reading in readings:
        weights = reading.weights.float()
        if reading.kind in ("token", "pool"):
            information = _entropy(weights.mean(0)).mean() - _entropy(weights).mean()
            terms.append(1 - information / math.log(max(weights.shape[-1], 2)))
        else:
            gates = weights.flatten(1)  # (B, gates of a picture)
            balance = (gates.mean(0) - 0.5).square().mean()
            terms.append((gates * (1 - gates)).mean() + 4 * balance)
    return sum(terms[1:], terms[0]) / len(terms)


def _entropy(weights: Tensor) -> Tensor:
    """Entropy in nats of distributions: (..., M) → (...)."""
    return -(weights * weights.clamp_min(1e-9).log()).sum(-1)

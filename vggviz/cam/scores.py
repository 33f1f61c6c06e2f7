"""What a method differentiates in place of the target's logit: functions of the logits."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["finer", "logit", "residual_softmax"]


def logit(logits: Tensor, targets: Tensor) -> Tensor:
    """y_c: logits (B, K), targets (T, B) → (T, B)."""
    return logits.expand(len(targets), *logits.shape).gather(2, targets[..., None])[..., 0]


def finer(logits: Tensor, targets: Tensor, *, strength: float = 0.6, similar: int = 3) -> Tensor:
    """y_c − γ · mean of y_d over the `similar` classes d whose logits are nearest to the target's.

    `logits` (B, K), `targets` (T, B) → (T, B). With fewer other classes it compares with all, and
    without any it is y_c.

    Zhang et al. 2025, 'Finer-CAM: Spotting the Difference Reveals Finer Details for Visual
    Explanation', section 3, γ = 0.6, averaged over three classes.
    """
    target = logit(logits, targets)[..., None]  # (T, B, 1)
    distance = (logits - target).detach().abs().scatter(2, targets[..., None], torch.inf)
    count = min(similar, logits.shape[1] - 1)
    if count == 0:
        return target[..., 0]
    nearest = distance.topk(count, 2, largest=False).indices
    others = logits.expand_as(distance).gather(2, nearest)  # (T, B, count)
    return target[..., 0] - strength * others.mean(2)


def residual_softmax(logits: Tensor, targets: Tensor) -> Tensor:
    """y_c + ln p_c, p the softmax of the logits: logits (B, K), targets (T, B) → (T, B).

    Cai 2025, 'CAMs as Shapley Value-based Explainers' (the ReST utility function).
    """
    return logit(logits + logits.log_softmax(1), targets)

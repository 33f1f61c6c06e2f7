"""Attention learned from pictures without labels: the network's own answers are the target.

All but the attention is frozen. With the mask m in [0, 1] that the attention weights lay on the
features x at one stage, the loss of a batch is

    KL(p ‖ attended) + keep · KL(p ‖ kept) + need · need_loss(p, complement) + price · mean(m²)
    + counterfactual · CE(attended − averaged, argmax p),

where p is the answer of the network without attention, and the others are the answers to the
output of the attention, to m⊙x + (1 − m)⊙x', to (1 − m)⊙x + m⊙x', and to the output of the
attention with its weights averaged; x' are another picture's features.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.attention import ATTENTION
from vggviz.hooks.capture import TapReading, capture, intervene
from vggviz.hooks.tapped import Tapped
from vggviz.metrics.replacement import change_to
from vggviz.networks import Network
from vggviz.training.objective import counterfactual_loss
from vggviz.training.terms import Terms

__all__ = [
    "keep_loss",
    "mask_of",
    "mixed",
    "need_loss",
    "open_gates",
    "price",
    "unlabelled_loss",
]


@torch.no_grad()
def open_gates(model: Network, amount: float) -> None:
    """Add `amount` to the biases before the sigmoids of fresh attention: with 2 a gate that would
    let 1/2 through lets 0.88 through. Attention without such biases stays as it is."""
    for block in model.attention.values():
        own = "module.module" if isinstance(block.module, Tapped) else "module"
        for name in ATTENTION[model.config.attention].gate_biases:
            block.get_parameter(f"{own}.{name}").add_(amount)


def mask_of(readings: Iterable[TapReading], budget: float = 1.0) -> Tensor:
    """The mask (B, C or 1, H or 1, W or 1) in [0, 1] that attention weights lay on features: the
    product of all gates.

    A distribution `a` over M positions (`pool`; of `token` the attention that each key receives,
    the mean over heads and queries) becomes 1 − exp(−ρ·M·a), ρ = `budget`: 1 − exp(−ρ) everywhere
    for a uniform one. Raises ValueError for weights of another kind.
    """
    masks: list[Tensor] = []
    for reading in readings:
        weights, grid = reading.weights.float(), reading.grid
        if reading.kind == "spatial":
            masks.append(weights[:, None])
        elif reading.kind == "channel":
            masks.append(weights[:, :, None, None])
        elif reading.kind == "volume":
            masks.append(weights)
        elif reading.kind == "axis":
            masks.append(weights.reshape(*weights.shape[:2], *grid))
        elif reading.kind in ("pool", "token"):
            shares = weights if reading.kind == "pool" else weights.mean((1, 2))  # (B, M)
            shape = (len(shares), 1, *(reading.keys or grid))
            masks.append((1 - torch.exp(-budget * shares.shape[1] * shares)).reshape(shape))
        else:
            raise ValueError(f"weights of the kind {reading.kind!r} are no mask")
    mask = masks[0]
    for other in masks[1:]:
        mask = mask * other
    return mask


def mixed(x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """m⊙x + (1 − m)⊙other, (B, C, H, W): what the mask shuts out is really gone, since another
    picture's features stand in its place.

    Schulz et al. 2020, 'Restricting the Flow: Information Bottlenecks for Attribution', eq. 3.
    Departure: features of another picture in place of Gaussian noise.
    """
    return mask * x + (1 - mask) * other


def keep_loss(answer: Tensor, logits: Tensor) -> Tensor:
    """KL(softmax(answer) ‖ softmax(logits)) in nats, the mean over the batch: (B, K), (B, K) → ().

    Hinton, Vinyals, Dean 2015, 'Distilling the Knowledge in a Neural Network', section 2, with the
    network itself as the teacher.
    """
    student, teacher = logits.log_softmax(-1), answer.log_softmax(-1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def need_loss(answer: Tensor, logits: Tensor) -> Tensor:
    """−Σ_k p_k·log(1 − q_k), p = softmax(answer), q = softmax(logits of the complement), the mean
    over the batch: (B, K), (B, K) → (). Low where what is shut out does not give the answer.

    Dabkowski, Gal 2017, 'Real Time Image Saliency for Black Box Classifiers', eq. 3 (the smallest
    destroying region), with the logarithm in place of a power.
    """
    against = torch.log1p(-logits.softmax(-1).clamp(max=1 - 1e-4))
    return -(answer.softmax(-1) * against).sum(-1).mean()


def price(mask: Tensor) -> Tensor:
    """mean(m²), a scalar. The square keeps an order: a mean of m opens or shuts a gate fully, and
    the maximum of a map that is 1 in many places points nowhere."""
    return mask.square().mean()


def unlabelled_loss(
    model: Network, features: Tensor, first: str, stage: str, terms: Terms, other: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits (B, K) of the network with attention, the answers (B, K) of the same network
    without it, and the loss, a scalar, for the attention at `stage`.

    `features` (B, C, h, w) are the input of the attention at the stage `first`; `other` (B,) the
    index in the batch of each picture's counterpart x'. Of weights that are no mask (see
    `mask_of`) only the terms without m count.
    """
    with torch.no_grad(), model.bypass():
        answer = model(features, first).float()
    if terms.answers == "shuffled":
        answer = answer[other]
    elif terms.answers == "wrong":
        answer = _exchanged(answer)
    x = model.features_before(features, stage, first)
    attention = model.attention[stage]
    with capture(attention) as trace:
        outputs = {"attended": attention(x)}
    readings = list(trace.taps.values())
    are_masks = bool(readings) and not {one.kind for one in readings} & {"branch", "other"}
    mask = mask_of(readings, terms.budget) if are_masks else None
    if mask is not None and terms.keep:
        outputs["kept"] = mixed(x, x[other], mask)
    if mask is not None and terms.need:
        outputs["complement"] = mixed(x, x[other], 1 - mask)
    if terms.counterfactual:
        with intervene(attention, change_to("uniform", torch.Generator(), {})):
            outputs["averaged"] = attention(x)
    # One pass: its batches are independent, since the frozen norms are in evaluation mode.
    parts = model.logits_after(torch.cat([*outputs.values()]), stage).float().split(len(x))
    logits = dict(zip(outputs, parts, strict=True))
    attended = logits["attended"]
    loss = keep_loss(answer, attended)
    if mask is not None:
        loss = loss + terms.price * price(mask)
    if "kept" in logits:
        loss = loss + terms.keep * keep_loss(answer, logits["kept"])
    if "complement" in logits:
        loss = loss + terms.need * need_loss(answer, logits["complement"])
    if "averaged" in logits:
        loss = loss + terms.counterfactual * counterfactual_loss(
            attended, logits["averaged"], answer.argmax(1)
        )
    return attended, answer, loss


def _exchanged(answer: Tensor) -> Tensor:
    """Logits (B, K) with the largest and the smallest of each row exchanged."""
    high, low = answer.max(1, keepdim=True), answer.min(1, keepdim=True)
    return answer.scatter(1, high.indices, low.values).scatter(1, low.indices, high.values)

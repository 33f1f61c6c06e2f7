"""CAM methods that run the network again: on masked images, or without single channels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vggviz.metrics.faithfulness import scaled_batch_size

__all__ = ["ablationcam", "scorecam"]


@torch.no_grad()
def scorecam(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    activation: Tensor,
    targets: Tensor,
    *,
    batch: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """relu(Σ_c w_c A_c), w = softmax over channels of the logit under each channel's mask.

    Channel c's mask is A_c scaled to [0, 1] and resized bilinearly to the image; the score is
    the target's logit of the masked image (that of the baseline, subtracted in the paper, is
    the same for every channel and leaves the softmax as it is). A constant channel masks all.

    `image` (3, S, S) normalised, `activation` (C, H, W), `targets` (T,) class indices,
    `predict` (B, 3, S, S) → (B, K) logits. Returns the raw maps (T, H, W). One pass serves all
    targets, with `batch` channels at a time, or fewer where the image is large (see
    `scaled_batch_size`).
    `progress(channels done, channels)` is called after each pass; what it raises ends the work.

    Wang et al. 2020, 'Score-CAM', algorithm 1. Departure: masks are scaled to [0, 1] before they
    are resized (the paper: after), so that a mask does not depend on the image's size.
    """
    low = activation.amin((1, 2), keepdim=True)
    spread = activation.amax((1, 2), keepdim=True) - low
    safe = torch.where(spread > 0, spread, torch.ones_like(spread))
    masks = (activation - low) / safe  # (C, H, W)
    scores: list[Tensor] = []
    for part in masks.split(scaled_batch_size((image.shape[-2], image.shape[-1]), batch)):
        resized = F.interpolate(
            part[:, None], image.shape[-2:], mode="bilinear", align_corners=False
        )  # (b, 1, S, S)
        scores.append(predict(image * resized)[:, targets])  # (b, T)
        progress(sum(map(len, scores)), len(masks))
    weights = torch.cat(scores).softmax(0)  # (C, T)
    return torch.einsum("ct,chw->thw", weights, activation).relu()


@torch.no_grad()
def ablationcam(
    resume: Callable[[Tensor], Tensor],
    image: Tensor,
    activation: Tensor,
    targets: Tensor,
    *,
    batch: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """relu(Σ_c w_c A_c), w_c what the target's logit loses where all of channel c becomes 0.

    `resume` takes outputs of the layer (b, C, H, W) to logits (b, K), `activation` (C, H, W) is the
    output for an image as large as `image` (3, S, S), or a larger one; `targets` (T,) are class
    indices. Returns the raw maps (T, H, W).
    `batch` and `progress` as for `scorecam`.

    Desai, Ramaswamy 2020, 'Ablation-CAM', eq. 4 and 5. Departure: weights are not divided by the
    target's logit, which scales the map, and turns it over where the logit is negative.
    """
    count = len(activation)
    scores: list[Tensor] = []
    height, width = (
        max(sides) for sides in zip(image.shape[1:], activation.shape[1:], strict=True)
    )
    size = scaled_batch_size((height, width), batch)
    for part in torch.arange(count, device=activation.device).split(size):
        features = activation.repeat(len(part), 1, 1, 1)
        features[torch.arange(len(part), device=part.device), part] = 0
        scores.append(resume(features)[:, targets])  # (b, T)
        progress(sum(map(len, scores)), count)
    weights = resume(activation[None].clone())[:, targets] - torch.cat(scores)  # (C, T)
    return torch.einsum("ct,chw->thw", weights, activation).relu()

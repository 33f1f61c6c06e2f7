"""What training is told, and what it tells."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vggviz.networks import Network

__all__ = ["Progress", "TrainConfig", "TrainError", "current_names", "differences"]

_RENAMED = {
    **{"rate": "lr", "attention_rate": "attention_lr", "sizes": "image_sizes"},
    **{"learn_from": "train_from", "distil": "distill_weight", "sites": "stages"},
}


class TrainError(RuntimeError):
    """Training that cannot go on; the message is one sentence for people."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train: SGD with Nesterov momentum under a one-cycle learning rate.

    Pictures. The epochs are shared out among `image_sizes`, the sides of the pictures in pixels:
    small ones first (Tan, Le 2021, section 4). `min_scale` is the smallest part of a picture's area
    that a training crop shows; with probability `zoom_out` the crop is shrunk, by up to a half,
    and put somewhere on a plain ground (Liu et al. 2016, section 3.6), so that objects are not
    always in the middle.

    What learns. With `freeze_backbone` convolutions and all but the last layer of the head stay as
    they are, and attention, γ, norms and that layer learn; with `whole_head` all of the head does
    (in VGG19 at full size 120 million parameters, 239 MB in half precision). Nothing below the
    stage `train_from` learns; by default that is the lowest attention where the backbone is frozen,
    and else nothing is below it. The features that arrive there never change, so those of `views`
    augmented views of every picture are computed once, where they fit in memory, and taken in
    turns; 0 draws new views for every epoch. `attention_lr` multiplies the learning rate of
    attention modules.

    The loss. `distill_weight` is the weight of the teacher's soft labels, at `temperature` (Hinton
    et al. 2015); `contrast` that of the term that makes attention decide (`infomax_penalty`), and
    `counterfactual` that of the one that makes the network need it (`counterfactual_loss`, both in
    `vggviz.training.objective`).
    """

    epochs: int = 24
    image_sizes: tuple[int, ...] = (32, 48, 64)
    batch: int = 64
    lr: float = 0.05
    attention_lr: float = 1.0
    warmup: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    distill_weight: float = 0.0
    temperature: float = 2.0
    contrast: float = 0.0
    counterfactual: float = 0.0
    min_scale: float = 0.35
    zoom_out: float = 0.0
    freeze_backbone: bool = False
    whole_head: bool = False
    train_from: str | None = None
    views: int = 4
    seed: int = 0

    def size_at(self, epoch: int) -> int:
        """The side of the pictures in `epoch`, in pixels."""
        return self.image_sizes[len(self.image_sizes) * epoch // self.epochs]

    def lr_at(self, step: int, steps: int) -> float:
        """One-cycle: up along a half cosine for `warmup` of the steps, then down to zero."""
        peak = self.warmup * steps
        if step < peak:
            return self.lr * (0.04 + 0.96 * (1 - math.cos(math.pi * step / peak)) / 2)
        return self.lr * (1 + math.cos(math.pi * (step - peak) / (steps - peak))) / 2

    def seed_for(self, number: int, salt: int) -> int:
        """A seed of its own for the step, epoch or view of this `number`; `salt` tells what for."""
        return (self.seed * 1_000_003 + number) * 1_009 + salt

    def lowest_trained_stage(self, model: Network) -> str | None:
        """The stage below which nothing learns, None where all may. ValueError for no stage."""
        if self.train_from not in (None, *model.stages):
            stages = ", ".join(model.stages)
            raise ValueError(f"no stage {self.train_from!r} to learn from: {stages}")
        if self.train_from is not None or not self.freeze_backbone:
            return self.train_from
        return next(iter(model.attention), None)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands, told after every step; `loss` and `accuracy` are running means over
    the epoch, `validation` is top-1 at epochs' ends."""

    epoch: int
    step: int
    steps: int
    size: int
    loss: float
    accuracy: float
    images_per_second: float
    validation: float | None = None


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from a file of version 0.1 or later, under the names that they have today."""
    return {_RENAMED.get(name, name): value for name, value in settings.items()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The settings of `now` that differ from those `before`, which may come from JSON: 'epochs 3
    (before: 5), lr 0.1 (before: 0.01)'; '' where none does."""
    plain = json.loads(json.dumps(now))
    return ", ".join(
        f"{name} {json.dumps(value)} (before: {json.dumps(before.get(name))})"
        for name, value in plain.items()
        if before.get(name) != value
    )

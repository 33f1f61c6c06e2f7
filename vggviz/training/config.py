"""The configuration of a training run, and the progress that it reports."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vggviz.networks import Network
from vggviz.training.terms import Terms

__all__ = ["Progress", "TrainConfig", "TrainError", "current_names", "differences"]

_RENAMED = {
    **{"rate": "lr", "attention_rate": "attention_lr", "sizes": "image_sizes"},
    **{"learn_from": "train_from", "distil": "distill_weight", "sites": "stages"},
    "right": "correct",
}


class TrainError(RuntimeError):
    """Training that cannot continue; the message is one sentence for users."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Hyperparameters: SGD with Nesterov momentum under a one-cycle learning rate.

    Data. The epochs are divided evenly among `image_sizes`, sides in pixels, small ones first (Tan,
    Le 2021, section 4). A random crop keeps at least `min_scale` of a picture's area; with
    probability `zoom_out` it is shrunk to between half and all of its side and placed on a plain
    background (Liu et al. 2016, section 3.6).

    Trained parameters. With `freeze_backbone`, only attention, γ, norms and the last layer of the
    head are trained, with `whole_head` all of the head (120 million parameters in full-size VGG19).
    Nothing before the stage `train_from` is trained; by default that is the first stage with
    attention where the backbone is frozen, and else none. The features before that stage are
    constant: those of `views` augmented views of each picture are computed once, where they fit in
    memory, and reused in turn; 0 augments every picture again in every epoch. `attention_lr`
    multiplies `lr` for attention modules.

    Loss. With `unlabelled` no label is used: only attention is trained, with AdamW, to give the
    answers of the network without it (see `vggviz.training.unlabelled`). Else `distill_weight`
    weighs a teacher's soft labels at `temperature` (Hinton et al. 2015), `contrast` the
    `infomax_penalty`, `counterfactual` the `counterfactual_loss` of `vggviz.training.objective`.
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
    unlabelled: Terms | None = None
    seed: int = 0

    def size_at(self, epoch: int) -> int:
        """The side of the pictures in `epoch` (0 to `epochs` − 1), in pixels."""
        return self.image_sizes[len(self.image_sizes) * epoch // self.epochs]

    def lr_at(self, step: int, steps: int) -> float:
        """The learning rate at `step` of `steps`: a half cosine from 0.04·lr up to lr during the
        first `warmup` of the steps, then one down to 0."""
        peak = self.warmup * steps
        if step < peak:
            return self.lr * (0.04 + 0.96 * (1 - math.cos(math.pi * step / peak)) / 2)
        return self.lr * (1 + math.cos(math.pi * (step - peak) / (steps - peak))) / 2

    def seed_for(self, number: int, salt: int) -> int:
        """A seed for the step, epoch or view `number`; `salt` makes seeds for other purposes
        differ."""
        return (self.seed * 1_000_003 + number) * 1_009 + salt

    def lowest_trained_stage(self, model: Network) -> str | None:
        """The stage before which nothing is trained, None for no limit.

        Raises ValueError where `train_from` is no stage of `model`.
        """
        if self.train_from not in (None, *model.stages):
            stages = ", ".join(model.stages)
            raise ValueError(f"no stage {self.train_from!r} to train from: {stages}")
        if self.train_from is not None or not (self.freeze_backbone or self.unlabelled):
            return self.train_from
        return next(iter(model.attention), None)


@dataclass(frozen=True, slots=True)
class Progress:
    """The state after a step: `step` of `steps` are done, `size` is the pictures' side in pixels,
    `loss` and `accuracy` are means over the epoch so far, `validation` is top-1 accuracy, at the
    end of an epoch only."""

    epoch: int
    step: int
    steps: int
    size: int
    loss: float
    accuracy: float
    images_per_second: float
    validation: float | None = None


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from a file of any version since 0.1, under their current names."""
    return {_RENAMED.get(name, name): value for name, value in settings.items()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The settings in `now` that differ from those in `before`, which was read from JSON, as text:
    'epochs 3 (before: 5), lr 0.1 (before: 0.01)'; '' where none does."""
    plain = json.loads(json.dumps(now))
    return ", ".join(
        f"{name} {json.dumps(value)} (before: {json.dumps(before.get(name))})"
        for name, value in plain.items()
        if before.get(name) != value
    )

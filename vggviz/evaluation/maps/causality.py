"""Whether the network uses its attention: other weights in the place of the learned ones."""

from __future__ import annotations

import torch
from torch import Tensor

from vggviz.evaluation.maps.job import Job, Part, Row
from vggviz.hooks.capture import evaluating, intervene
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.platform.device import run_network
from vggviz.types import Kind

__all__ = ["replace_weights"]

METRIC = "causality"


def replace_weights(job: Job) -> Part:
    """What each of `REPLACEMENTS`, at all stages together, does to the network's answers.

    `logits`: ‖z' − z‖ / ‖z‖, both minus their mean over classes; `top-1 changed`: how often it is
    another class; `accuracy lost`: of top-1, paired; `probability lost`: of the true class.
    """
    if not len(job.model.attention):
        return Part((), notes=("no attention to replace",))
    targets = job.pictures.targets
    before = _logits(job, None)
    centred = before - before.mean(1, keepdim=True)
    right = before.argmax(1) == targets
    rows: list[Row] = []
    for name in REPLACEMENTS:
        after = _logits(job, name)
        moved = (after - after.mean(1, keepdim=True) - centred).norm(dim=1)
        size = centred.norm(dim=1)
        lost = [z.softmax(1).gather(1, targets[:, None])[:, 0] for z in (before, after)]
        columns = {
            "logits": torch.where(size > 0, moved / size, torch.nan),
            "top-1 changed": (after.argmax(1) != before.argmax(1)).double(),
            "accuracy lost": right.double() - (after.argmax(1) == targets).double(),
            "probability lost": lost[0] - lost[1],
        }
        rows += job.rows(METRIC, ("all", "attention"), columns, name)
    return Part(tuple(rows))


@torch.no_grad()
def _logits(job: Job, name: str | None) -> Tensor:
    """(n, K), with the learned weights or a replacement's."""
    generator = job.generator()

    def change(_: str, kind: Kind, weights: Tensor) -> Tensor:
        return weights.clone() if name is None else REPLACEMENTS[name](kind, weights, generator)

    with evaluating(job.model), intervene(job.model, change):
        return torch.cat(
            [run_network(job.model, part) for part in job.pictures.images.split(job.batch)]
        )

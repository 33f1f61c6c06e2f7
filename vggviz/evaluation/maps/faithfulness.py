"""Whether the network needs what its maps call important."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vggviz.evaluation.maps.job import Job, Part, Row, View
from vggviz.hooks.capture import evaluating
from vggviz.metrics.baselines import BASELINES
from vggviz.metrics.faithfulness import SCALED, area, confidence, curves
from vggviz.metrics.road import road
from vggviz.platform.device import run_network

__all__ = ["COARSE", "be_faithful"]

METRIC = "faithfulness"
COARSE = replace(SCALED, steps=8)  # the mean over many pictures needs fewer points than one curve
FRACTIONS = (0.2, 0.5, 0.8)  # of ROAD
AT_ONCE = 16  # pictures of a pass: their features stay in the processor's cache, a fifth faster


def be_faithful(job: Job) -> Part:
    """Deletion, insertion, drop and increase of confidence, and ROAD of every map, for the class
    that the network says; and of maps that know nothing of the network."""
    pictures = job.pictures.first(job.curves)
    targets = job.likeliest(pictures)
    views = job.views(pictures, targets)
    known = {("", name): make(pictures.images, job.generator()) for name, make in BASELINES.items()}
    rows: list[Row] = []
    insertions: dict[View, Tensor] = {}
    with evaluating(job.model):
        for view, maps in {**views, **known}.items():
            columns = _measure(job, pictures.images, maps, targets)
            insertions[view] = columns["insertion"]
            rows += job.rows(METRIC, view, columns)
    if not views:
        return Part(tuple(rows), notes=("no attention over positions, and no CAM method named",))
    view = next((v for v in reversed(views) if v[1] == "gradcam"), [*views][-1])
    title = f"{view[1]} at {view[0]}, insertion"
    shown = job.extremes(METRIC, title, pictures, views[view], insertions[view])
    return Part(tuple(rows), tuple(shown))


def _measure(job: Job, images: Tensor, maps: Tensor, targets: Tensor) -> dict[str, Tensor]:
    fractions, batch = torch.linspace(0, 1, COARSE.steps + 1), min(job.batch, AT_ONCE)
    predict = partial(run_network, job.model)
    areas = {
        kind: area(fractions, curves(predict, images, maps, targets, kind, COARSE, batch=batch))
        for kind in ("deletion", "insertion")
    }
    drop, increase = confidence(predict, images, maps, targets)
    left = road(predict, images, maps, targets, job.generator(), fractions=FRACTIONS, batch=batch)
    return {**areas, "drop": drop, "increase": increase.double(), "road": left}

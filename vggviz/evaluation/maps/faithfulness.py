"""Faithfulness of maps: deletion, insertion, change of confidence, and ROAD."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vggviz.evaluation.maps.frames import table_by_map
from vggviz.evaluation.maps.job import Job, MapKey, MapMetric, Part, Row
from vggviz.evaluation.maps.plots import plot_by_stage
from vggviz.hooks.capture import evaluating
from vggviz.metrics.baselines import BASELINES
from vggviz.metrics.faithfulness import SCALED, area, confidence, curves
from vggviz.metrics.road import road
from vggviz.platform.device import run_network

__all__ = ["COARSE", "FAITHFULNESS"]

COARSE = replace(SCALED, steps=8)  # the mean over many pictures needs fewer points than one curve
FRACTIONS = (0.2, 0.5, 0.8)  # of ROAD
COLUMNS = {
    name.replace("road", "ROAD"): (name, "")
    for name in ("deletion", "insertion", "drop", "increase", "road")
}
MAX_BATCH = 16  # pictures whose features stay in the processor's cache: a fifth faster


def measure(job: Job) -> Part:
    """Deletion, insertion, drop and increase of confidence, and ROAD of every map, for the
    predicted class; and of the maps in `BASELINES`, which do not depend on the network."""
    pictures = job.few_pictures()
    targets = job.logits(pictures).argmax(1)
    maps_by_key = job.maps(pictures, targets)
    baselines = {
        ("", name): make(pictures.images, job.generator()) for name, make in BASELINES.items()
    }
    rows: list[Row] = []
    insertions: dict[MapKey, Tensor] = {}
    with evaluating(job.model):
        for key, maps in {**maps_by_key, **baselines}.items():
            columns = _columns(job, pictures.images, maps, targets)
            insertions[key] = columns["insertion"]
            rows += job.rows(key, columns)
    if not maps_by_key:
        return Part(tuple(rows), notes=("no attention over positions, and no CAM method named",))
    key = next((v for v in reversed(maps_by_key) if v[1] == "gradcam"), [*maps_by_key][-1])
    title = f"{key[1]} at {key[0]}, insertion"
    extremes = job.extremes(title, pictures, maps_by_key[key], insertions[key])
    return Part(tuple(rows), extremes)


def _columns(job: Job, images: Tensor, maps: Tensor, targets: Tensor) -> dict[str, Tensor]:
    fractions, batch = torch.linspace(0, 1, COARSE.steps + 1), min(job.batch, MAX_BATCH)
    predict = partial(run_network, job.model)
    areas = {
        kind: area(fractions, curves(predict, images, maps, targets, kind, COARSE, batch=batch))
        for kind in ("deletion", "insertion")
    }
    drop, increase = confidence(predict, images, maps, targets)
    left = road(predict, images, maps, targets, job.generator(), fractions=FRACTIONS, batch=batch)
    return {**areas, "drop": drop, "increase": increase.double(), "road": left}


FAITHFULNESS = MapMetric(
    measure,
    "Areas under the deletion (lower is better) and insertion curves, the average drop in "
    "confidence (lower is better), how often it increases, and ROAD (LeRF − MoRF).",
    partial(table_by_map, columns=COLUMNS),
    partial(plot_by_stage, measure="insertion", label="area under insertion"),
    depends_on=("curves",),
)

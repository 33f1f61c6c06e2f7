"""The agreement of attention maps and CAMs with Grad-CAM, and with controls."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from vggviz.evaluation.maps.frames import table_by_map
from vggviz.evaluation.maps.job import Job, MapKey, MapMetric, Part, Row
from vggviz.evaluation.maps.plots import plot_by_stage
from vggviz.metrics.agreement import MEASURES, agreements
from vggviz.metrics.baselines import centre

__all__ = ["AGREEMENT"]

REFERENCE = "gradcam"
COLUMNS = {
    "ρ": ("spearman", REFERENCE),
    "τ_b": ("kendall", REFERENCE),
    "IoU": ("iou", REFERENCE),
    "SSIM": ("ssim", REFERENCE),
    "ρ, another picture": ("spearman", f"{REFERENCE} of another picture"),
    "ρ, centre": ("spearman", "centre"),
    "ρ, other seed": ("spearman", "other seed"),
}


def measure(job: Job) -> Part:
    """The agreement of every map with Grad-CAM at the same stage and with controls, for the
    predicted class.

    Lower controls: Grad-CAM of another picture (what maps have in common on any picture), and a
    Gaussian in the centre. Upper control: the same map of a network trained with another seed.
    """
    if REFERENCE not in job.methods:
        raise ValueError(f"agreement compares with {REFERENCE!r}: name it among the methods")
    pictures = job.pictures
    targets = job.logits(pictures).argmax(1)
    maps_by_key = job.maps(pictures, targets)
    others = job.maps(pictures, targets, job.other) if job.other is not None else {}
    rows: list[Row] = []
    examples: list[tuple[MapKey, Tensor]] = []
    for (stage, kind), maps in maps_by_key.items():
        gradcam = maps_by_key[stage, REFERENCE]
        controls = {
            f"{REFERENCE} of another picture": gradcam.roll(1, 0),
            "centre": centre((maps.shape[1], maps.shape[2])).expand_as(maps),
        }
        if kind != REFERENCE:
            controls = {REFERENCE: gradcam, **controls}
        if (stage, kind) in others:
            controls["other seed"] = others[stage, kind]
        for against, control in controls.items():
            found = agreements(maps, control)
            columns = dict(zip(MEASURES, found.T, strict=True))
            rows += job.rows((stage, kind), columns, against)
            if against == REFERENCE and kind not in job.methods:
                examples.append(((stage, kind), found[:, 0]))
    notes = () if job.other is not None else ("no network of another seed: no ceiling",)
    if not examples:
        return Part(tuple(rows), notes=notes)
    (stage, kind), values = examples[-1]
    title = f"{kind} at {stage} and Grad-CAM, ρ"
    extremes = job.extremes(title, pictures, maps_by_key[stage, kind], values)
    return Part(tuple(rows), extremes, notes)


AGREEMENT = MapMetric(
    measure,
    "How alike each map and Grad-CAM of the same stage are, for the class that the network "
    "predicts: Spearman's ρ, Kendall's τ_b, IoU of the top 20%, SSIM; and ρ with controls.",
    partial(table_by_map, columns=COLUMNS, every_stage=True),
    partial(
        plot_by_stage, measure="spearman", against=REFERENCE, label="Spearman's ρ with Grad-CAM"
    ),
    depends_on=("other",),
)

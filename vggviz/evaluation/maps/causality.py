"""Whether the network uses its attention: other weights in the place of the learned ones."""

from __future__ import annotations

import torch
from pandas import DataFrame

from vggviz.evaluation.maps.frames import pivot
from vggviz.evaluation.maps.job import Job, MapMetric, Part, Row
from vggviz.evaluation.maps.plots import plot_by_replacement
from vggviz.metrics.replacement import REPLACEMENTS, change_to

__all__ = ["CAUSALITY"]


def measure(job: Job) -> Part:
    """The effect of each of `REPLACEMENTS`, at all stages together, on the network's outputs.

    `logits`: ‖z' − z‖ / ‖z‖, both minus their mean over classes; `top-1 changed`: how often the
    prediction is another class; `accuracy lost`: of top-1, paired; `probability lost`: of the true
    class. A replacement that is not defined for the network's attention gives a note.
    """
    if not len(job.model.attention):
        return Part((), notes=("no attention to replace",))
    targets = job.pictures.targets
    with job.model.intervene(lambda _, __, weights: weights.clone()):
        before = job.logits(job.pictures)
    centred = before - before.mean(1, keepdim=True)
    size, right = centred.norm(dim=1), before.argmax(1) == targets
    rows: list[Row] = []
    notes: list[str] = []
    for name in REPLACEMENTS:
        change = change_to(name, job.generator(), job.model.key_positions())
        try:
            with job.model.intervene(change):
                after = job.logits(job.pictures)
        except ValueError as error:
            notes.append(f"{name}: {error}")
            continue
        moved = (after - after.mean(1, keepdim=True) - centred).norm(dim=1)
        lost = [z.softmax(1).gather(1, targets[:, None])[:, 0] for z in (before, after)]
        columns = {
            "logits": torch.where(size > 0, moved / size, torch.nan),
            "top-1 changed": (after.argmax(1) != before.argmax(1)).double(),
            "accuracy lost": right.double() - (after.argmax(1) == targets).double(),
            "probability lost": lost[0] - lost[1],
        }
        rows += job.rows(("all", "attention"), columns, name)
    return Part(tuple(rows), notes=tuple(notes))


def table(rows: DataFrame) -> DataFrame:
    """A table with a row for each network and replacement."""
    index = {"network": "", "against": "replaced by"}
    return pivot(rows.assign(heading=rows["measure"]), index, rows["measure"].unique())


CAUSALITY = MapMetric(
    measure,
    "Other weights in the place of attention's at all stages together: how far the logits move "
    "(of their length), how often the answer changes, and top-1 and probability lost.",
    table,
    plot_by_replacement,
    depends_on=("batch",),
)

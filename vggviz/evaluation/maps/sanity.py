"""Whether maps change when the network forgets what it has learned."""

from __future__ import annotations

from vggviz.evaluation.maps.job import Job, Part, Row
from vggviz.metrics.sanity import compared, randomised
from vggviz.networks import build_network

__all__ = ["keep_sane"]

METRIC = "sanity"


def keep_sane(job: Job) -> Part:
    """The likeness of every map to itself after layers were made untrained, for the class that the
    whole network says: all layers from the top down to one, and each one alone."""
    pictures = job.pictures.first(job.curves)
    targets = job.likeliest(pictures)
    before = job.views(pictures, targets)
    fresh = build_network(job.model.config, job.generator())
    fresh.to(next(job.model.parameters()).device)
    rows: list[Row] = []
    for word, cascading in (("cascading", True), ("independent", False)):
        layers = job.model.parameter_groups()
        for layer, model in randomised(job.model, fresh, layers, cascading=cascading):
            after = job.views(pictures, targets, model)
            for view, maps in before.items():
                spearman, ssim = compared(maps, after[view]).T
                columns = {f"spearman, {word}": spearman, f"ssim, {word}": ssim}
                rows += job.rows(METRIC, view, columns, layer)
    return Part(tuple(rows))

"""Sanity checks: whether maps change when layers of the network are randomised."""

from __future__ import annotations

from pandas import DataFrame

from vggviz.evaluation.maps.frames import table_by_map
from vggviz.evaluation.maps.job import Job, MapMetric, Part, Row
from vggviz.evaluation.maps.plots import plot_by_depth
from vggviz.metrics.agreement import MEASURES, agreements

__all__ = ["SANITY"]

COLUMNS = 7  # layers in the table


def measure(job: Job) -> Part:
    """The similarity of every map before and after layers were randomised, for the class that the
    trained network predicts: all layers from the top down to one, and each one alone.

    Adebayo et al. 2018, 'Sanity Checks for Saliency Maps', section 3.
    """
    pictures = job.few_pictures()
    targets = job.logits(pictures).argmax(1)
    before = job.maps(pictures, targets)
    layers, rows = [*job.model.parameter_groups()], list[Row]()
    device = next(job.model.parameters()).device
    for number, layer in enumerate(layers):
        for word, groups in (("cascading", layers[: number + 1]), ("independent", [layer])):
            model = job.model.untrained(groups, job.generator()).to(device)
            after = job.maps(pictures, targets, model)
            for key, maps in before.items():
                found = dict(zip(MEASURES, agreements(maps, after[key]).T, strict=True))
                columns = {f"{name}, {word}": found[name] for name in ("spearman", "ssim")}
                rows += job.rows(key, columns, layer)
    return Part(tuple(rows))


def table(rows: DataFrame) -> DataFrame:
    """A table with a row for each map at its deepest stage and a column for each of up to seven
    layers, evenly from the top down, of those that all networks have, or else of all."""
    networks = rows.groupby("against", sort=False)["network"].nunique()
    layers = [*networks.index[networks == rows["network"].nunique()]] or [*networks.index]
    last = len(layers) - 1
    chosen = dict.fromkeys(layers[round(n * last / (COLUMNS - 1))] for n in range(COLUMNS))
    return table_by_map(rows, {layer: ("spearman, cascading", layer) for layer in chosen})


SANITY = MapMetric(
    measure,
    "Spearman's ρ of each map with itself after all layers from the top down to the named one were "
    "made untrained. A map that stays alike doesn't show what was learned.",
    table,
    plot_by_depth,
    depends_on=("curves",),
)

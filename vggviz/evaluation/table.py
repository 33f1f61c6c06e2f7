"""The evaluation as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple

from pandas import DataFrame

from vggviz.evaluation.pictures import unknown_note
from vggviz.evaluation.result import GRADCAM, PUBLISHED, Difference, Evaluation, Result
from vggviz.metrics.statistics import Estimate
from vggviz.tables import markdown

__all__ = ["table"]

SUBSET_TITLES = {
    "all": "all pictures",
    "off_centre": "box misses the centre",
    "small": "small box",
}


def table(evaluation: Evaluation) -> str:
    """Accuracy and cost, pointing, use, and the range of the weights, each with its notes.

    Percentages with their 95% intervals in brackets; the machine, the date and the command are
    the caller's to add.
    """
    results = evaluation.results
    parts = [_accuracy(evaluation), _cost(evaluation)]
    if any(result.pointing for result in results.values()):
        parts.append(_pointing(results))
    used = {name: result for name, result in results.items() if result.use}
    if used:
        parts += [_use(used), _weights(used)]
    others = ", ".join(name for name in results if name not in used)
    if others:
        parts.append(f"Without attention, so that there is nothing to replace: {others}.")
    return "\n\n".join(parts)


def _accuracy(evaluation: Evaluation) -> str:
    results = evaluation.results.values()
    frame = DataFrame(
        {
            "": list(evaluation.results),
            "top-1 %": [_percent(one.top1) for one in results],
            "top-5 %": [_percent(one.top5) for one in results],
            "calibration error %": [_percent(one.calibration) for one in results],
            f"top-1 − {evaluation.reference}": [_points(one.against) for one in results],
            "p": [_p(one.against) for one in results],
        }
    )
    left_out = len(evaluation.unreadable)
    notes = [
        f"{evaluation.pictures:,} pictures of {evaluation.classes} classes"
        + (f", {left_out} more can't be read" if left_out else "")
        + f". In brackets 95% intervals ({evaluation.resamples:,} bootstrap resamples of the "
        "pictures; for the calibration error corrected for the bias of resampling). Differences "
        "are paired, in points, and p is McNemar's exact test.",
        unknown_note(evaluation.unknown),
        "A network of five classes or fewer has no top-5: it could not miss it."
        if any(one.top5 is None for one in results)
        else "",
        PUBLISHED,
    ]
    return markdown(frame, *filter(None, notes))


def _cost(evaluation: Evaluation) -> str:
    costs = [result.cost for result in evaluation.results.values()]
    frame = DataFrame(
        {
            "": list(evaluation.results),
            "parameters": [f"{cost.parameters:,}" for cost in costs],
            "multiply-adds": [f"{cost.multiply_adds / 1e6:,.1f} M" for cost in costs],
            "milliseconds": [_bracketed(cost.latency, 1000, ".1f") for cost in costs],
            f"× {evaluation.reference}": [_bracketed(cost.ratio, 1, ".2f") for cost in costs],
        }
    )
    note = (
        "Multiply-adds are those of convolutions and matrix products. Latency is that of one "
        f"picture: medians of {evaluation.rounds} interleaved rounds, the ratio within each round."
    )
    return markdown(frame, note)


def _pointing(results: Mapping[str, Result]) -> str:
    rows: list[list[str]] = []
    for name, result in results.items():
        pointing = result.pointing
        if pointing is None:
            continue
        for of, title in (("attention", "attention"), (GRADCAM, "Grad-CAM")):
            views = [(subset, pointing.best_view(of, subset)) for subset in SUBSET_TITLES]
            if any(view for _, view in views):
                rates = ["" if v is None else f"{_percent(v.rates[s])} {v.stage}" for s, v in views]
                rows.append([name, title, *rates])
        if pointing.over_gradcam:
            over = [_points(pointing.over_gradcam.get(subset)) for subset in SUBSET_TITLES]
            rows.append([name, "attention − Grad-CAM", *over])
    subsets = next(one.pointing.subsets for one in results.values() if one.pointing)
    found = [subsets.get(subset) for subset in SUBSET_TITLES]
    rows += [
        ["", "chance: mean box area", *(f"{100 * s.chance:.1f}" if s else "" for s in found)],
        ["", "the picture's centre", *(f"{100 * s.centre:.1f}" if s else "" for s in found)],
        ["", "pictures", *(f"{s.count:,}" if s else "0" for s in found)],
    ]
    return markdown(
        DataFrame(rows, columns=["", "map", *SUBSET_TITLES.values()]),
        "How often a map's largest value lies in the box, in %. Grad-CAM is told the true class; "
        "attention knows none. A small box covers at most a third of the picture.",
        "Each cell names its best stage, the one with the most hits on these same pictures: that "
        "flatters both, and more so on few pictures. Every stage is in the JSON.",
    )


def _use(results: Mapping[str, Result]) -> str:
    keys = next(iter(results.values())).use
    head = ["", *(title for key in keys for title in (f"lost with {key}", "p"))]
    rows = [
        [name, *(cell for key in keys for cell in (_points(one.use[key]), _p(one.use[key])))]
        for name, one in results.items()
    ]
    return markdown(
        DataFrame(rows, columns=head),
        "Points of top-1 lost when the weights of all stages together are replaced. 'uniform': "
        "each picture's weights by their mean; 'shuffled': put in another order.",
    )


def _weights(results: Mapping[str, Result]) -> str:
    rows = [
        [
            name,
            spread.stage,
            spread.kind,
            f"{result.gammas[spread.stage]:.3f}".replace("-", "−")
            if spread.stage in result.gammas
            else "",
            *(
                f"{x:.2g}" if x < 0.1 else f"{x:.3f}"
                for x in (spread.low, spread.high, spread.mean, spread.within)
            ),
        ]
        for name, result in results.items()
        for spread in result.spread
    ]
    head = ["", "stage", "map", "γ", "low", "high", "mean", "deviation in a picture"]
    return markdown(
        DataFrame(rows, columns=head),
        "Attention weights over all pictures; the last column is the mean over pictures of the "
        "standard deviation inside one. Weights that hardly differ make a picture of nothing.",
    )


def _p(difference: Difference | None) -> str:
    return "" if difference is None else f"{difference.p:.2g}"


def _points(value: Difference | Estimate | None) -> str:
    """'+1.2 [-0.3, +2.7]' in points, '' for None."""
    estimate = value.points if isinstance(value, Difference) else value
    return _bracketed(estimate, 100, "+.1f").replace("-", "−")


def _percent(estimate: Estimate | None) -> str:
    return _bracketed(estimate, 100, ".1f")


def _bracketed(estimate: Estimate | None, times: float, form: str) -> str:
    """'value [low, high]', '' for None."""
    if estimate is None:
        return ""
    value, low, high = (format(times * x, form) for x in astuple(estimate))
    return f"{value} [{low}, {high}]"

"""The evaluation as markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from vggviz.evaluation.result import (
    ANCHORS,
    GRADCAM,
    SUBSETS,
    Difference,
    Evaluation,
    Pointing,
    Result,
)
from vggviz.metrics.statistics import Estimate

__all__ = ["markdown", "table"]

Row = Sequence[str]
TITLES = {"all": "all pictures", "off_centre": "box misses the centre", "small": "small box"}


def table(evaluation: Evaluation) -> str:
    """Accuracy and cost, pointing, use, and the range of the weights, each with its notes.

    Percentages with their 95% intervals in brackets; the machine, the date and the command are
    the caller's to add.
    """
    parts = [_accuracy(evaluation), _cost(evaluation)]
    if any(result.pointing for result in evaluation.results.values()):
        parts.append(_pointing(evaluation))
    if any(result.use for result in evaluation.results.values()):
        parts += [_use(evaluation), _weights(evaluation)]
    return "\n\n".join(parts)


def _accuracy(evaluation: Evaluation) -> str:
    reference = evaluation.reference
    head = ("", "top-1 %", "top-5 %", "calibration error %", f"top-1 − {reference}", "p")
    rows = [
        (
            name,
            _percent(result.top1),
            _percent(result.top5),
            _percent(result.calibration),
            *_compared(result.against),
        )
        for name, result in evaluation.results.items()
    ]
    left_out = len(evaluation.unreadable)
    notes = [
        f"{evaluation.pictures:,} pictures of {evaluation.classes} classes"
        + (f", {left_out} more can't be read" if left_out else "")
        + f". In brackets 95% intervals ({evaluation.resamples:,} bootstrap resamples of the "
        "pictures; for the calibration error corrected for the bias of resampling). Differences "
        "are paired, in points, and p is McNemar's exact test.",
        ANCHORS,
    ]
    if any(result.top5 is None for result in evaluation.results.values()):
        notes.insert(1, "A network of five classes or fewer has no top-5: it could not miss it.")
    return markdown(head, rows, notes)


def _cost(evaluation: Evaluation) -> str:
    head = ("", "parameters", "multiply-adds", "milliseconds", f"× {evaluation.reference}")
    rows = [
        (
            name,
            f"{result.cost.parameters:,}",
            f"{result.cost.multiply_adds / 1e6:,.1f} M",
            _bracketed(result.cost.latency, 1000, 1),
            _bracketed(result.cost.ratio, 1, 2) if result.cost.ratio else "",
        )
        for name, result in evaluation.results.items()
    ]
    note = (
        "Multiply-adds are those of convolutions and matrix products. Latency is that of one "
        f"picture: medians of {evaluation.rounds} interleaved rounds, the ratio within each round."
    )
    return markdown(head, rows, [note])


def _pointing(evaluation: Evaluation) -> str:
    head = ["", "map", *TITLES.values()]
    rows: list[Row] = []
    for name, result in evaluation.results.items():
        pointing = result.pointing
        if pointing is None:
            continue
        for of, title in (("attention", "attention"), (GRADCAM, "Grad-CAM")):
            rates = [_rate(pointing, of, subset) for subset in SUBSETS]
            if any(rates):
                rows.append((name, title, *rates))
        if pointing.over_gradcam:
            over = [_points(pointing.over_gradcam.get(subset)) for subset in SUBSETS]
            rows.append((name, "attention − Grad-CAM", *over))
    subsets = next(r.pointing.subsets for r in evaluation.results.values() if r.pointing)
    found = [subsets.get(subset) for subset in SUBSETS]
    rows += [
        ("", "chance: mean box area", *(f"{100 * s.chance:.1f}" if s else "" for s in found)),
        ("", "the picture's centre", *(f"{100 * s.centre:.1f}" if s else "" for s in found)),
        ("", "pictures", *(f"{s.count:,}" if s else "0" for s in found)),
    ]
    notes = [
        "How often a map's largest value lies in the box, in %. Grad-CAM is told the true class; "
        "attention knows none. A small box covers at most a third of the picture.",
        "Each cell names its best stage, the one with the most hits on these same pictures: that "
        "flatters both, and more so on few pictures. Every stage is in the JSON.",
    ]
    return markdown(head, rows, notes)


def _rate(pointing: Pointing, of: str, subset: str) -> str:
    view = pointing.best_view(of, subset)
    return "" if view is None else f"{_percent(view.rates[subset])} {view.stage}"


def _use(evaluation: Evaluation) -> str:
    used = [(name, result) for name, result in evaluation.results.items() if result.use]
    names = list(used[0][1].use)
    head = ["", *(title for name in names for title in (f"lost with {name}", "p"))]
    rows = [
        (name, *(cell for key in names for cell in _compared(result.use[key])))
        for name, result in used
    ]
    note = (
        "Points of top-1 lost when the weights of all stages together are replaced. 'uniform': "
        "each picture's weights by their mean; 'shuffled': put in another order."
    )
    return markdown(head, rows, [note])


def _weights(evaluation: Evaluation) -> str:
    head = ("", "stage", "map", "γ", "low", "high", "mean", "deviation in a picture")
    rows = [
        (
            name,
            spread.stage,
            spread.kind,
            _gamma(result, spread.stage),
            *(f"{x:.2g}" if x < 0.1 else f"{x:.3f}" for x in (spread.low, spread.high)),
            *(f"{x:.2g}" if x < 0.1 else f"{x:.3f}" for x in (spread.mean, spread.within)),
        )
        for name, result in evaluation.results.items()
        for spread in result.spread
    ]
    note = (
        "Attention weights over all pictures; the last column is the mean over pictures of the "
        "standard deviation inside one. Weights that hardly differ make a picture of nothing."
    )
    return markdown(head, rows, [note])


def _gamma(result: Result, stage: str) -> str:
    return f"{result.gammas[stage]:.3f}".replace("-", "−") if stage in result.gammas else ""


def _compared(difference: Difference | None) -> tuple[str, str]:
    if difference is None:
        return "", ""
    return _points(difference.points), f"{difference.p:.2g}"


def _percent(estimate: Estimate | None) -> str:
    return "" if estimate is None else _bracketed(estimate, 100, 1)


def _points(estimate: Estimate | None) -> str:
    """With a sign: a loss is as visible as a gain."""
    if estimate is None:
        return ""
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")


def _bracketed(estimate: Estimate, times: float, digits: int) -> str:
    value, low, high = (times * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown(head: Row, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """A table whose first column is aligned left, then a paragraph for each note."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in lines
    ]
    return "\n\n".join(["\n".join(text), *notes])

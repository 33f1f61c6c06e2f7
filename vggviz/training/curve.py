"""A figure of a training history: loss and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from vggviz.files import atomic_write
from vggviz.plotting.page import INK, PALE, png
from vggviz.plotting.panels import ACCENT, GREY

__all__ = ["plot_history"]


def plot_history(history: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Plot the history that `train` returns as a PNG: loss above, accuracy in per cent below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [entry["epoch"] + 1 for entry in history]
    figure = Figure(figsize=(7, 5))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(0.1, 0.1, 0.9, 0.94, hspace=0.22)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(epochs, [entry["loss"] for entry in history], color=INK, marker=".")
    upper.set_ylabel("loss")
    for key, label, colour, dashes in (
        ("accuracy", "training views, top-1", GREY, "--"),
        ("validation_top1", "validation, top-1", ACCENT, "-"),
        ("validation_top5", "validation, top-5", INK, "-"),
    ):
        if key not in history[0]:  # there is no top-5 of five classes or fewer
            continue
        values = [100 * entry[key] for entry in history]
        lower.plot(epochs, values, color=colour, linestyle=dashes, marker=".", label=label)
        lower.annotate(
            f" {values[-1]:.1f}%",
            (epochs[-1], values[-1]),
            color=colour,
            va="center",
            annotation_clip=False,
        )
    lower.set_ylabel("accuracy, %")
    lower.set_xlabel("epoch")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    lower.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncol=3)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=PALE)
        for previous, entry in pairwise(history):
            if entry["size"] != previous["size"]:
                axes.axvline(entry["epoch"] + 0.5, color=GREY, linewidth=0.8, linestyle=":")
    for entry, previous in zip(history, [{"size": None}, *history], strict=False):
        if entry["size"] != previous["size"]:
            upper.text(entry["epoch"] + 0.6, 1.0, f"{entry['size']} px", color=GREY, va="bottom",
                       transform=upper.get_xaxis_transform())  # fmt: skip
    with atomic_write(file) as part:
        part.write_bytes(png(figure))

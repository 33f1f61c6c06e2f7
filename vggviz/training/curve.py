"""A figure of a training history: loss and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vggviz.files import atomic_write
from vggviz.plotting.page import INK, PALE, png
from vggviz.plotting.panels import ACCENT, GREY

__all__ = ["plot_history"]


def plot_history(history: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Plot the history that `train` returns as a PNG: loss above, accuracy in per cent below.

    A dotted line marks each change of the size of pictures.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [entry["epoch"] + 1 for entry in history]
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(epochs, [entry["loss"] for entry in history], color=INK, marker=".")
    upper.set_ylabel("loss")
    for key, label, colour, style in (
        ("accuracy", "training views, top-1", GREY, "--"),
        ("validation_top1", "validation, top-1", ACCENT, "-"),
        ("validation_top5", "validation, top-5", INK, "-"),
    ):
        if key in history[0]:  # there is no top-5 of five classes or fewer
            values = [100 * entry[key] for entry in history]
            label = f"{label}: {values[-1]:.1f}%"
            lower.plot(epochs, values, color=colour, linestyle=style, marker=".", label=label)
    lower.set(ylabel="accuracy, %", xlabel="epoch")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    lower.legend(frameon=False, fontsize="small")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=PALE)
    for previous, entry in zip([{"size": None}, *history], history, strict=False):
        if entry["size"] != previous["size"]:
            start, place = entry["epoch"] + 0.5, upper.get_xaxis_transform()
            upper.text(start + 0.1, 1, f"{entry['size']} px", color=GREY, transform=place)
            for axes in (upper, lower):
                axes.axvline(start, color=GREY, linewidth=0.8, linestyle=":")
    with atomic_write(file) as part:
        part.write_bytes(png(figure))

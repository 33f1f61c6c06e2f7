"""Plots of the results of map metrics, with a panel for each network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pandas import DataFrame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_by_depth", "plot_by_replacement", "plot_by_stage"]

ACROSS = 3  # panels in a row


def plot_by_stage(rows: DataFrame, *, measure: str, against: str = "", label: str) -> Figure:
    """A line for each map over stages, with intervals; baselines as dashed lines."""
    rows = rows[(rows["measure"] == measure) & (rows["against"] == against)]

    def draw(axes: Axes, panel: DataFrame) -> None:
        stages = [*dict.fromkeys(filter(None, panel["stage"]))]
        for number, (map, line) in enumerate(panel.groupby("map", sort=False)):
            known = line[line["value"].notna()]
            if (known["stage"] == "").any():
                axes.axhline(known["value"].iloc[0], color=f"C{number}", ls="--", lw=1, label=map)
            else:
                _bars(axes, [stages.index(s) for s in known["stage"]], known, f"C{number}", map)
        axes.set_xticks(range(len(stages)), stages, fontsize=7)

    return _panels(rows, draw, label)


def plot_by_depth(rows: DataFrame) -> Figure:
    """How each map changes, layer by layer from the top down, at its deepest stage."""
    rows = rows[rows["measure"] == "spearman, cascading"]
    rows = rows[rows["stage"] == rows.groupby(["network", "map"])["stage"].transform("last")]

    def draw(axes: Axes, panel: DataFrame) -> None:
        layers = [*dict.fromkeys(panel["against"])]
        for number, ((map, stage), line) in enumerate(panel.groupby(["map", "stage"], sort=False)):
            known = line[line["value"].notna()]
            places = [layers.index(layer) for layer in known["against"]]
            _bars(axes, places, known, f"C{number}", f"{map} at {stage}")
        axes.set_xticks(range(len(layers)), layers, fontsize=5, rotation=90)

    return _panels(rows, draw, "Spearman's ρ with the trained network's map")


def plot_by_replacement(rows: DataFrame) -> Figure:
    """Top-1 lost with each replacement."""

    def draw(axes: Axes, panel: DataFrame) -> None:
        _bars(axes, range(len(panel)), panel, "C0", "", line="none")
        axes.axhline(0, color="#8793a0", lw=0.8)
        axes.set_xticks(range(len(panel)), panel["against"], fontsize=7)
        axes.set_xlim(-0.5, len(panel) - 0.5)

    return _panels(rows[rows["measure"] == "accuracy lost"], draw, "top-1 lost")


def _bars(
    axes: Axes, places: Sequence[int], rows: DataFrame, colour: str, label: str, line: str = "-"
) -> None:
    # The bootstrap's bounds may miss the mean by rounding.
    below = (rows["value"] - rows["low"]).clip(lower=0)
    above = (rows["high"] - rows["value"]).clip(lower=0)
    style: dict[str, Any] = {"color": colour, "label": label, "ls": line, "lw": 1.2}
    axes.errorbar(places, rows["value"], [below, above], marker="o", ms=3, elinewidth=0.8, **style)


def _panels(rows: DataFrame, draw: Callable[[Axes, DataFrame], None], label: str) -> Figure:
    from matplotlib.figure import Figure

    networks = [*rows.groupby("network", sort=False)]
    across = max(1, min(ACROSS, len(networks)))
    down = max(1, -(-len(networks) // across))
    figure = Figure(figsize=(3.4 * across, 2.6 * down + 0.2), layout="constrained")
    for number, (network, panel) in enumerate(networks, 1):
        axes = figure.add_subplot(down, across, number)
        draw(axes, panel)
        axes.set_title(network, fontsize=9)
        axes.tick_params(axis="y", labelsize=7)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=5.5, frameon=False)
    figure.supylabel(label, fontsize=8)
    return figure

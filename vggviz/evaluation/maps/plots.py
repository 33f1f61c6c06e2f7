"""What was measured of maps as plots: a panel for each network."""

# Matplotlib leaves the types of **kwargs open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vggviz.evaluation.maps.job import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PLOTS"]

ACROSS = 3  # panels in a row


def by_stage(rows: Sequence[Row], *, measure: str, against: str = "", label: str) -> Figure:
    """A line for each map over stages, with intervals; baselines as dashed lines."""
    mine = [row for row in rows if row.measure == measure and row.against == against]
    places = list(dict.fromkeys(row.stage for row in mine if row.stage))

    def draw(axes: Axes, panel: Sequence[Row]) -> None:
        for number, map in enumerate(dict.fromkeys(row.map for row in panel)):
            line = [row for row in panel if row.map == map and row.value is not None]
            if line and line[0].stage:
                _bars(axes, [places.index(row.stage) for row in line], line, f"C{number}", map)
            elif line:
                axes.axhline(line[0].value or 0, color=f"C{number}", ls="--", lw=1, label=map)
        axes.set_xticks(range(len(places)), places, fontsize=7)

    return _panels(mine, draw, label)


def by_depth(rows: Sequence[Row]) -> Figure:
    """How each map forgets, layer by layer from the top down, at its deepest stage."""
    mine = [row for row in rows if row.measure == "spearman, cascading"]
    deepest = {(row.network, row.map): row.stage for row in mine}

    def draw(axes: Axes, panel: Sequence[Row]) -> None:
        layers = list(dict.fromkeys(row.against for row in panel))
        for number, map in enumerate(dict.fromkeys(row.map for row in panel)):
            line = [
                row
                for row in panel
                if row.map == map
                and row.stage == deepest[row.network, map]
                and row.value is not None
            ]
            if line:
                places = [layers.index(row.against) for row in line]
                _bars(axes, places, line, f"C{number}", f"{map} at {line[0].stage}")
        axes.set_xticks(range(len(layers)), layers, fontsize=5, rotation=90)

    return _panels(mine, draw, "Spearman's ρ with the trained network's map")


def by_replacement(rows: Sequence[Row]) -> Figure:
    """Top-1 lost with each replacement."""
    mine = [row for row in rows if row.measure == "accuracy lost"]

    def draw(axes: Axes, panel: Sequence[Row]) -> None:
        for place, row in enumerate(panel):
            _bars(axes, [place], [row], "C0", "")
        axes.axhline(0, color="#8793a0", lw=0.8)
        axes.set_xticks(range(len(panel)), [row.against for row in panel], fontsize=7)
        axes.set_xlim(-0.5, len(panel) - 0.5)

    return _panels(mine, draw, "top-1 lost")


def _bars(axes: Axes, places: Sequence[int], rows: Sequence[Row], colour: str, label: str) -> None:
    values = [row.value or 0.0 for row in rows]
    below = [value - (row.low or 0.0) for value, row in zip(values, rows, strict=True)]
    above = [(row.high or 0.0) - value for value, row in zip(values, rows, strict=True)]
    # The bootstrap's bounds may miss the mean by rounding.
    error = [[max(0.0, one) for one in side] for side in (below, above)]
    axes.errorbar(
        places, values, error, color=colour, label=label, marker="o", ms=3, lw=1.2, elinewidth=0.8
    )


def _panels(rows: Sequence[Row], draw: Callable[[Axes, Sequence[Row]], None], label: str) -> Figure:
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(row.network for row in rows))
    across = max(1, min(ACROSS, len(networks)))
    down = max(1, -(-len(networks) // across))
    figure = Figure(figsize=(3.4 * across, 2.6 * down + 0.2), layout="constrained")
    for number, network in enumerate(networks, 1):
        axes = figure.add_subplot(down, across, number)
        draw(axes, [row for row in rows if row.network == network])
        axes.set_title(network, fontsize=9)
        axes.tick_params(axis="y", labelsize=7)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=5.5, frameon=False)
    figure.supylabel(label, fontsize=8)
    return figure


PLOTS: dict[str, Callable[[Sequence[Row]], Figure]] = {
    "agreement": partial(
        by_stage, measure="spearman", against="gradcam", label="Spearman's ρ with Grad-CAM"
    ),
    "faithfulness": partial(by_stage, measure="insertion", label="area under insertion"),
    "localisation": partial(by_stage, measure="energy", label="energy in the box"),
    "sanity": by_depth,
    "causality": by_replacement,
}

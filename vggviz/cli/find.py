"""`vggviz find`: where a network has attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from vggviz.cli.console import or_fail, print_line, print_lines
from vggviz.cli.network import NetworkOptions, takes_network


@takes_network("adapter", "labels", "mean", "std", "multi_label")
def find(
    image: Annotated[
        Path | None, typer.Argument(help="A picture; by default one of random colours.")
    ] = None,
    network: NetworkOptions = NetworkOptions(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the attention in a network: stage, path, kind, shape, range of weights."""
    import numpy as np

    from vggviz.explainer import Explainer

    name, options = network.resolve("everyday")
    explainer = or_fail(Explainer.load, name, **options)
    model, side = explainer.model, explainer.preprocess.size
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    found = or_fail(explainer.explain, image or noise, model.listed_stages(), ())
    rows: list[dict[str, Any]] = [
        {
            "stage": stage,
            "path": record.path or model.path(stage),
            "kind": record.kind,
            "shape": list(record.weights.shape),
            "range": [record.low, record.high],
        }
        for stage, records in found.attention.items()
        for record in records
    ]
    if as_json:
        print_lines(json.dumps({"network": name, "attention": rows}, indent=2))
        return
    if not rows:
        print_line(f"{name}: no attention was found")
        return
    cells = [
        (
            row["stage"],
            row["path"],
            row["kind"],
            "×".join(map(str, row["shape"])),
            "{:.3g} to {:.3g}".format(*row["range"]),
        )
        for row in rows
    ]
    table = [("stage", "path", "kind", "shape", "range"), *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print_line("  ".join(map(str.ljust, line, widths)).rstrip())

"""`vggviz bench`: speed, as ratios within one run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vggviz.cli.console import or_fail, print_lines, progress_bar, split_list


def bench(
    size: Annotated[int, typer.Option(min=32, help="Side of the picture in pixels.")] = 224,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds: each runs every case once.")] = 15,
    only: Annotated[
        str | None,
        typer.Option(help="Some cases and measures, with commas; a wrong word lists all."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time one pass against a bare forward pass and other libraries, in one run."""
    from vggviz import benchmark

    with progress_bar("call") as progress:
        report = or_fail(
            benchmark.run,
            size=size,
            repeats=repeats,
            names=split_list(only or "") or None,
            progress=progress,
        )
    print_lines(json.dumps(report.to_json(), indent=2) if as_json else benchmark.table(report))

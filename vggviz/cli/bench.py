"""`vggviz bench`: speed, as ratios within one run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vggviz.cli.console import counted, or_stop, say_lines, words


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

    with counted("call") as progress:
        report = or_stop(
            benchmark.run,
            size=size,
            repeats=repeats,
            names=words(only or "") or None,
            progress=progress,
        )
    say_lines(json.dumps(report.to_json(), indent=2) if as_json else benchmark.table(report))

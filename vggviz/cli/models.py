"""`vggviz models`: the catalogue of weights."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vggviz.cli.console import print_line, print_lines


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List weights × attention types: parameters, classes, and what is on this machine."""
    from vggviz.weights import list_weights

    lines = list_weights()
    if as_json:
        print_lines(json.dumps([line._asdict() for line in lines], indent=2))
        return
    print_line(
        f"{'weights':<18} {'attention':<15} {'parameters':>12} {'classes':>8}  on this machine"
    )
    for line in lines:
        print_line(
            f"{line.weights:<18} {line.attention:<15} {line.parameters:>12,} {line.classes:>8}  "
            f"{'yes' if line.local else 'no'}"
        )

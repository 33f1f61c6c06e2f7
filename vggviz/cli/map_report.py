"""`vggviz evaluate --metrics`: metrics of attention maps and CAMs, as tables and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vggviz.cli.console import fail, or_fail, print_lines, progress_bar, split_list, write_or_fail
from vggviz.platform.machine import machine
from vggviz.texts import visible

if TYPE_CHECKING:
    from vggviz import Explainer
    from vggviz.data import Dataset


def report_maps(
    subjects: Mapping[str, Explainer],
    dataset: Dataset,
    training: Dataset | None,
    out: Path,
    others: Sequence[Path],
    *,
    metrics: str,
    stages: str,
    methods: str,
    device: str,
    **options: Any,
) -> None:
    """Measure the maps, print the tables, and write maps.json, .csv, .md and .html to `out`.

    `others` are weights of another seed; lists have commas; other `options` as for `evaluate_maps`.
    """
    from vggviz.evaluation import maps

    here = machine()
    with progress_bar("part") as progress:
        report = or_fail(
            maps.evaluate_maps,
            subjects,
            dataset,
            training,
            metrics=tuple(maps.METRICS) if metrics == "all" else split_list(metrics),
            stages=None if stages == "all" else split_list(stages),
            methods=split_list(methods),
            others=_by_name(subjects, others, device),
            folder=out,
            progress=progress,
            **options,
        )
    command = visible(" ".join(["vggviz", *sys.argv[1:]]))
    about = f"{here}: {command}"
    tables = maps.markdown_of(report)
    content = {"command": command, "machine": asdict(here), **report.to_json()}
    files = {
        "maps.json": json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False),
        "maps.csv": maps.csv_of(report),
        "maps.md": f"{tables}\n\n{about}\n",
        "maps.html": maps.html_of(report, about),
    }
    for name, text in files.items():
        write_or_fail(out / name, text)
    print_lines(f"{tables}\n\n{about}")


def _by_name(
    subjects: Mapping[str, Explainer], files: Sequence[Path], device: str
) -> dict[str, Explainer]:
    """The network in each file under the name of that with the same attention."""
    from vggviz import Explainer

    found: dict[str, Explainer] = {}
    for file in files:
        other = or_fail(Explainer.load, file, device=device)
        kind = other.card.config.attention
        alike = [name for name, one in subjects.items() if one.card.config.attention == kind]
        if not alike:
            fail(f"{file} has {kind!r}, which is not evaluated")
        if alike[0] in found:
            fail(f"{file} has {kind!r}, of which another file was given already")
        found |= dict.fromkeys(alike, other)
    return found

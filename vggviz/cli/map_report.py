"""`vggviz evaluate --metrics`: metrics of attention maps and CAMs, as tables and files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vggviz.cli.console import (
    fail,
    or_fail,
    print_lines,
    print_unreadable,
    progress_bar,
    split_list,
)
from vggviz.files import atomic_write
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
    *,
    metrics: str,
    stages: str,
    methods: str,
    others: Sequence[Path],
    pictures: int,
    curves: int,
    seed: int,
    batch: int,
    strict: bool,
    device: str,
) -> None:
    """Measure the maps, print the tables, and write maps.json, .csv, .md and .html to `out`."""
    from vggviz import Explainer
    from vggviz.evaluation import maps

    reseeded: dict[str, Explainer] = {}
    for other in others:
        second = or_fail(Explainer.load, other, device=device)
        kind = second.card.config.attention
        alike = [name for name, one in subjects.items() if one.card.config.attention == kind]
        if not alike:
            fail(f"{other} has {kind!r}, which is not evaluated")
        if alike[0] in reseeded:
            fail(f"{other} has {kind!r}, of which another file was given already")
        reseeded |= dict.fromkeys(alike, second)
    here = machine()
    with progress_bar("part") as progress:
        try:
            report = or_fail(
                maps.judge_maps,
                subjects,
                dataset,
                training,
                metrics=tuple(maps.METRICS) if metrics == "all" else split_list(metrics),
                stages=None if stages == "all" else split_list(stages),
                methods=split_list(methods),
                others=reseeded,
                pictures=pictures,
                curves=curves,
                folder=out,
                seed=seed,
                batch=batch,
                progress=progress,
                unreadable=None if strict else print_unreadable,
            )
        except OSError as error:
            fail(f"{out} can't be written to: {error.strerror}")
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
        try:
            with atomic_write(out / name) as written:
                written.write_text(text, "utf-8", "backslashreplace")
        except OSError as error:
            fail(f"{out / name} can't be written: {error.strerror}")
    print_lines(f"{tables}\n\n{about}")

"""`vggviz evaluate`: accuracy and cost of networks, or metrics of their maps."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vggviz.cli.choices import attention_keys
from vggviz.cli.console import (
    WEIGHTS_HELP,
    fail,
    or_fail,
    print_error,
    print_ignored,
    print_line,
    print_lines,
    print_unreadable,
    progress_bar,
    split_list,
    write_or_fail,
)
from vggviz.cli.map_report import report_maps
from vggviz.cli.network import Device, NetworkOptions, takes_network
from vggviz.platform.machine import machine
from vggviz.texts import visible

if TYPE_CHECKING:
    from vggviz import Explainer
    from vggviz.data import Dataset


@takes_network("multi_label")
def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            help="Folder or zip: class folders, with Pascal VOC's XML or masks or without; Tiny "
            "ImageNet, COCO, Pascal VOC or CUB-200-2011."
        ),
    ],
    weights: Annotated[str, typer.Option(help=WEIGHTS_HELP)] = "everyday",
    attention: Annotated[
        str | None,
        typer.Option(
            help="all, or with commas, of: {attention}. none is always there. For a weights file "
            "only the code that it was trained with."
        ),
    ] = None,
    network: NetworkOptions = NetworkOptions(),
    against: Annotated[
        Path | None, typer.Option(help="Weights file that a weights file is compared with.")
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(help="train, val or test; by default val, or else test, where there is one."),
    ] = None,
    half: Annotated[
        str | None,
        typer.Option(
            help="choose or report: one half of the pictures, by their files' names: settings are "
            "chosen on the one, and numbers are reported of the other."
        ),
    ] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="File to write.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 128,
    seed: Annotated[int, typer.Option(help="For resampling and shuffling.")] = 0,
    strict: Annotated[bool, typer.Option(help="Stop at an unreadable picture.")] = False,
    device: Device = "auto",
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Measure maps instead: all, or agreement,faithfulness,localisation,sanity,"
            "causality. Writes to --out."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the report on maps; what it holds is not redone.")
    ] = Path("evaluation"),
    pictures: Annotated[int, typer.Option(min=2, help="Pictures to measure maps on.")] = 200,
    curves: Annotated[
        int, typer.Option(min=2, help="Of these, for faithfulness and sanity, which are slow.")
    ] = 24,
    stages: Annotated[str, typer.Option(help="Stages at which maps are measured.")] = "all",
    methods: Annotated[str, typer.Option(help="CAM methods to measure, of: {methods}.")] = (
        "gradcam,layercam"
    ),
    reseed_weights: Annotated[
        list[Path] | None,
        typer.Option(help="Weights of another seed, once for each type: what agreement can reach."),
    ] = None,
) -> None:
    """Measure accuracy, cost and use of attention on labelled pictures. Needs the extra 'train'.

    Pictures of classes that a network doesn't know are left out, and counted.
    """
    try:
        from vggviz import evaluation
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        fail(f"evaluating needs {package}: pip install 'vggviz[train]'")

    if as_json is not None and as_json.is_dir():
        fail(f"{as_json} is a folder, --json needs a file")
    if as_json is not None and metrics is not None:
        fail("--json is for the tables of accuracy and cost: --metrics writes to --out")
    dataset, training = _pictures(data, part, half)
    name, options = network.resolve(weights)
    subjects, reference = _subjects(name, attention, against, {**options, "device": device})
    if as_json is not None:
        _prepare(as_json.parent, "--json")  # before the work, which takes minutes
    if metrics is not None:
        _prepare(out, "--out")
        report_maps(
            subjects,
            dataset,
            training,
            out,
            reseed_weights or [],
            metrics=metrics,
            stages=stages,
            methods=methods,
            pictures=pictures,
            curves=curves,
            seed=seed,
            batch=batch,
            unreadable=None if strict else print_unreadable,
            device=device,
        )
        return

    here = machine()
    with progress_bar("pass") as progress:
        result = or_fail(
            evaluation.evaluate,
            subjects,
            dataset,
            reference=reference,
            batch=batch,
            seed=seed,
            progress=progress,
            unreadable=None if strict else print_unreadable,
        )
    command = visible(" ".join(["vggviz", *sys.argv[1:]]))
    print_lines(f"{evaluation.table(result)}\n")
    print_line(f"{here}: `{command}`")
    if as_json is not None:
        about = {"command": command, "machine": asdict(here), "data": data.name}
        content = json.dumps({**about, **result.to_json()}, indent=2, allow_nan=False)
        write_or_fail(as_json, content)


def _pictures(data: Path, part: str | None, half: str | None) -> tuple[Dataset, Dataset | None]:
    """The pictures of a part, or half of them, and others with boxes or masks to choose thresholds
    on: the training part, or else, for the half 'report', the other half; None without these."""
    from vggviz.data import open_dataset, parts_of, take_half

    parts = or_fail(parts_of, data)
    chosen = part or next((one for one in ("val", "test", *parts) if one in parts), None)
    if chosen is None or (part is None and chosen == "train"):
        print_error(
            f"{data} has no validation or test part: all pictures are used, training pictures too"
        )
    whole = or_fail(open_dataset, data, chosen)
    print_ignored(whole.ignored)
    for note in whole.notes:
        print_error(note)
    dataset = whole if half is None else or_fail(take_half, whole, half)
    training: Dataset | None = None
    if whole.has_objects and "train" in parts:
        training = or_fail(open_dataset, data, "train")
        training = None if set(training.files) == set(whole.files) else training
    if training is None and half == "report":
        training = or_fail(take_half, whole, "choose")
    return dataset, training


def _subjects(
    name: str, attention: str | None, against: Path | None, options: dict[str, Any]
) -> tuple[dict[str, Explainer], str]:
    """The networks by name, and the name of the reference among them."""
    from vggviz import ATTENTION, Explainer
    from vggviz.networks import is_network_name
    from vggviz.weights import BUNDLED, WEIGHTS, bundled_types

    load = partial(or_fail, partial(Explainer.load, **options))
    if against is not None and (name in WEIGHTS or is_network_name(name)):
        fail("--against compares two weights files: give a file as --weights too")
    if is_network_name(name):
        return {name: load(name, attention)}, name
    if name in WEIGHTS:
        if attention in (None, "all"):
            types = bundled_types() if name == BUNDLED else tuple(ATTENTION)
        else:
            types = attention_keys(str(attention))
        return {kind: load(name, kind) for kind in dict.fromkeys(("none", *types))}, "none"
    if attention is not None and {"all", "none", *ATTENTION} & {*split_list(attention)}:
        fail("a weights file brings its own attention: leave --attention out")
    attention_keys(attention or "")
    files = [Path(name)] if against is None else [against, Path(name)]
    loaded = [load(file) for file in files]
    for names in (
        [explainer.card.config.attention for explainer in loaded],
        [file.stem for file in files],
        [str(file) for file in files],
    ):
        if len(set(names)) == len(names):
            return dict(zip(names, loaded, strict=True)), names[0]
    fail(f"{name} can't be compared with itself")


def _prepare(folder: Path, option: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"no folder {folder} for {option}: {error.strerror}")
    if not os.access(folder, os.W_OK):
        fail(f"the folder {folder} for {option} can't be written to")

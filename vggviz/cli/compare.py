"""`vggviz compare`: a seed study of accuracy with and without attention."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from vggviz.cli.choices import attention_keys
from vggviz.cli.console import (
    CLASSES_HELP,
    fail,
    parse_image_sizes,
    parse_seeds,
    print_classes,
    print_line,
    print_lines,
    split_list,
)
from vggviz.files import atomic_write


def compare(
    data: Annotated[
        Path, typer.Option(help="Folder of class folders, or Tiny ImageNet; or a zip.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the runs and comparison.json.")],
    attention: Annotated[
        str,
        typer.Option(
            help="With commas, of: {attention}; tiny_vgg is CNN Explainer's network, without any."
        ),
    ] = "se,cbam,self_attention",
    seeds: Annotated[
        str, typer.Option(help="How many seeds, from 0; or which, with commas: 0,3,7.")
    ] = "3",
    classes: Annotated[str | None, typer.Option(help=CLASSES_HELP)] = None,
    width: Annotated[float, typer.Option(help="Width multiplier of the networks.")] = 0.25,
    stages: Annotated[
        str, typer.Option(help="Where attention is, with commas; all stages by default.")
    ] = "",
    blend: Annotated[str, typer.Option(help="residual or replace.")] = "residual",
    epochs: Annotated[int, typer.Option(min=1)] = 24,
    image_sizes: Annotated[str, typer.Option(help="Sides in pixels that share out the epochs.")] = (
        "32,48,64"
    ),
    batch: Annotated[int, typer.Option(min=2)] = 64,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 0.05,
) -> None:
    """Train with and without attention under one recipe, and compare. Needs the extra 'train'."""
    try:
        from vggviz.training.seed_study import BASELINE, run_seed_study
    except ModuleNotFoundError as error:
        fail(f"comparing needs {error.name}: pip install 'vggviz[train]'")
    from vggviz.training import Progress, TrainConfig, TrainError

    config = TrainConfig(
        epochs=epochs, image_sizes=parse_image_sizes(image_sizes), batch=batch, lr=lr
    )
    names = [
        name if name == BASELINE else attention_keys(name)[0] for name in split_list(attention)
    ]
    bar = tqdm(unit="step", disable=not sys.stderr.isatty())

    def report(name: str, seed: int, progress: Progress) -> None:
        bar.total, bar.n = progress.steps, progress.step
        bar.set_postfix_str(f"{name}, seed {seed}, loss {progress.loss:.3f}")
        if progress.validation is not None and progress.step == progress.steps:
            print_line(f"{name}, seed {seed}: validation {progress.validation:.1%}")

    try:
        study = run_seed_study(
            data,
            out,
            config,
            names,
            parse_seeds(seeds),
            width=width,
            blend=blend,
            stages=split_list(stages),
            classes=split_list(classes) if classes else None,
            on_data=print_classes,
            report=report,
        )
        with atomic_write(out / "comparison.json") as part:
            part.write_text(json.dumps(asdict(study), indent=2))
    except (TrainError, ValueError, OSError) as error:
        fail(str(error))
    finally:
        bar.close()
    print_lines(study.table())

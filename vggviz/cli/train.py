"""`vggviz train`: labelled pictures in, a weights file out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from vggviz.cli.says import stop


def train(
    data: Annotated[
        Path, typer.Option(help="Folder of class folders, or Tiny ImageNet; or a zip.")
    ],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    classes: Annotated[
        str | None, typer.Option(help="Some classes only: labels or WordNet ids with commas.")
    ] = None,
    attention: Annotated[str, typer.Option(help="none or an attention type.")] = "cbam",
    sites: Annotated[str, typer.Option(help="Sites with commas.")] = (
        "block1,block2,block3,block4,block5"
    ),
    blend: Annotated[str, typer.Option(help="residual or replace.")] = "residual",
    width: Annotated[float, typer.Option(help="Width multiplier of the network.")] = 0.5,
    start: Annotated[Path | None, typer.Option(help="Weights file to start from.")] = None,
    freeze_backbone: Annotated[bool, typer.Option(help="Convolutions do not learn.")] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 24,
    sizes: Annotated[
        str, typer.Option(help="Sides of the pictures in pixels: the epochs are shared out.")
    ] = "32,48,64",
    batch: Annotated[int, typer.Option(min=1)] = 64,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 0.05,
    attention_rate: Annotated[
        float, typer.Option(help="Multiplies the rate of attention modules.")
    ] = 1.0,
    teacher: Annotated[
        Path | None, typer.Option(help="Soft labels to distil: safetensors with 'logits' (n, K).")
    ] = None,
    distil: Annotated[float, typer.Option(help="Weight of the soft labels in the loss.")] = 0.5,
    temperature: Annotated[float, typer.Option(help="Temperature of the soft labels.")] = 2.0,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint beside OUT.")] = False,
    strict: Annotated[bool, typer.Option(help="Stop at an unreadable picture.")] = False,
) -> None:
    """Train a network with attention on labelled pictures. Needs the extra 'train'."""
    try:
        from vggviz.fit import fit
    except ModuleNotFoundError as error:
        stop(f"training needs {error.name}: pip install 'vggviz[train]'")
    from vggviz.data import DataError
    from vggviz.train import Progress, TrainConfig, TrainError

    config = TrainConfig(
        epochs=epochs,
        sizes=tuple(int(size) for size in sizes.split(",")),
        batch=batch,
        rate=rate,
        attention_rate=attention_rate,
        distil=distil if teacher else 0.0,
        temperature=temperature,
        freeze_backbone=freeze_backbone,
        seed=seed,
    )
    bar = tqdm(unit="step", disable=not sys.stderr.isatty())

    def report(progress: Progress) -> None:
        bar.total, bar.n = progress.steps, progress.step
        bar.set_postfix_str(
            f"epoch {progress.epoch + 1}/{epochs} {progress.size}px loss {progress.loss:.3f} "
            f"{progress.images_per_second:.0f} images/s"
        )
        if progress.accuracy is not None:
            tqdm.write(f"epoch {progress.epoch + 1}: validation {progress.accuracy:.1%}")

    def unreadable(error: Exception) -> None:
        tqdm.write(f"left out: {error}", file=sys.stderr)

    try:
        found = fit(
            data,
            out,
            config,
            network={
                "attention": attention,
                "sites": tuple(sites.split(",")),
                "blend": blend,
                "width": width,
            },
            classes=None if classes is None else [name.strip() for name in classes.split(",")],
            start=start,
            teacher=teacher,
            resume=resume,
            report=report,
            unreadable=None if strict else unreadable,
        )
    except (DataError, TrainError, ValueError, OSError) as error:
        stop(str(error))
    finally:
        bar.close()
    print(f"{out}: validation {found:.1%}")

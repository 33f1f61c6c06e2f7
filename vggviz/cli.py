"""The command line: `vggviz explain`, `models`, `train`, `bench`. The only place that prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="See what attention does inside VGG19: learned attention beside Grad-CAM.",
)

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif"}

Weights = Annotated[
    str, typer.Option(help="tiny50, imagenet, imagenet_bn, random, or a .safetensors file.")
]
Attention = Annotated[
    str | None, typer.Option(help="none or an attention type; a file brings its own.")
]


@app.command()
def explain(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    weights: Weights = "tiny50",
    attention: Attention = None,
    sites: Annotated[
        str, typer.Option(help="all, or names with commas: block4,block5,conv5_4.")
    ] = "all",
    methods: Annotated[
        str, typer.Option(help="CAM methods with commas: gradcam,layercam.")
    ] = "gradcam",
    target: Annotated[
        str | None, typer.Option(help="Class as label or index; by default the likeliest.")
    ] = None,
) -> None:
    """Explain pictures: prediction, attention and CAMs as JSON, NPZ and PNG for each."""
    from vggviz import Explainer
    from vggviz.cam import known

    files = list(_pictures(images))
    explainer = _or_stop(Explainer.load, weights, attention)
    chosen = _or_stop(known, [name for name in methods.split(",") if name])
    for site in () if sites == "all" else sites.split(","):
        _or_stop(explainer.model.path, site)
    if target is not None:
        _or_stop(explainer.index, target)
    stems = _stems(files)
    failed = 0
    for file in tqdm(files, unit="picture", disable=len(files) < 2 or not sys.stderr.isatty()):
        try:
            explanation = explainer.explain(file, sites, chosen, target)
            written = explanation.save(out, stems[file])
        except (ValueError, OSError) as error:
            failed += 1
            tqdm.write(f"{file}: {error}", file=sys.stderr)
            continue
        first = explanation.prediction.top(1)[0]
        note = f" ({explanation.note})" if explanation.note else ""
        tqdm.write(f"{file}: {first.label} {first.probability:.1%}{note} → {written[2]}")
    if failed:
        print(f"{failed} of {len(files)} pictures could not be explained", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List weights × attention types: parameters, classes, and what is on this machine."""
    from vggviz import zoo

    lines = zoo.catalogue()
    if as_json:
        print(json.dumps([line._asdict() for line in lines], indent=2))
        return
    print(f"{'weights':<12} {'attention':<15} {'parameters':>12} {'classes':>8}  on this machine")
    for line in lines:
        print(
            f"{line.weights:<12} {line.attention:<15} {line.parameters:>12,} {line.classes:>8}  "
            f"{'yes' if line.local else 'no'}"
        )


@app.command()
def train(
    data: Annotated[
        Path, typer.Option(help="Folder of class folders, or Tiny ImageNet; or a zip.")
    ],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    attention: Annotated[str, typer.Option(help="none or an attention type.")] = "cbam",
    sites: Annotated[str, typer.Option(help="Sites with commas.")] = (
        "block1,block2,block3,block4,block5"
    ),
    blend: Annotated[str, typer.Option(help="residual or replace.")] = "residual",
    width: Annotated[float, typer.Option(help="Width multiplier of the network.")] = 0.5,
    start: Annotated[Path | None, typer.Option(help="Weights file to start from.")] = None,
    freeze_backbone: Annotated[bool, typer.Option(help="Convolutions do not learn.")] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 24,
    size: Annotated[int, typer.Option(min=32, help="Side of the pictures in pixels.")] = 64,
    progressive: Annotated[bool, typer.Option(help="Begin with smaller pictures.")] = True,
    batch: Annotated[int, typer.Option(min=1)] = 64,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 0.05,
    attention_rate: Annotated[
        float, typer.Option(help="Multiplies the rate of attention modules.")
    ] = 1.0,
    teacher: Annotated[
        Path | None, typer.Option(help="Soft labels to distil: safetensors with 'logits' (n, K).")
    ] = None,
    distil: Annotated[float, typer.Option(help="Weight of the soft labels in the loss.")] = 0.7,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint beside OUT.")] = False,
    strict: Annotated[bool, typer.Option(help="Stop at an unreadable picture.")] = False,
) -> None:
    """Train a network with attention on labelled pictures. Needs the extra 'train'."""
    try:
        from vggviz.fit import fit
    except ModuleNotFoundError as error:
        _stop(f"training needs {error.name}: pip install 'vggviz[train]'")
    from vggviz.data import DataError
    from vggviz.train import Progress, TrainConfig, TrainError

    config = TrainConfig(
        epochs=epochs,
        size=size,
        batch=batch,
        rate=rate,
        attention_rate=attention_rate,
        distil=distil if teacher else 0.0,
        progressive=progressive,
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
            start=start,
            teacher=teacher,
            resume=resume,
            report=report,
            unreadable=None if strict else unreadable,
        )
    except (DataError, TrainError, ValueError, OSError) as error:
        _stop(str(error))
    finally:
        bar.close()
    print(f"{out}: validation {found:.1%}")


@app.command()
def bench(
    size: Annotated[int, typer.Option(min=32, help="Side of the picture in pixels.")] = 224,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds: each runs every case once.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time one pass against a bare forward pass and other libraries, in one run."""
    from vggviz import bench as benchmark

    with tqdm(unit="call", disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = benchmark.run(size=size, repeats=repeats, progress=progress)
    print(json.dumps(report.to_json(), indent=2) if as_json else benchmark.table(report))


def _pictures(images: list[Path]) -> Iterator[Path]:
    """The files themselves, and the pictures in the folders, in order."""
    for path in images:
        if path.is_dir():
            found = sorted(f for f in path.rglob("*") if f.suffix.lower() in PICTURES)
            if not found:
                _stop(f"{path}: no pictures in this folder")
            yield from found
        else:
            yield path


def _stems(files: list[Path]) -> dict[Path, str]:
    """A name for each file's results: its stem, or, where two share one, its whole name."""
    seen: dict[str, int] = {}
    for file in files:
        seen[file.stem] = seen.get(file.stem, 0) + 1
    taken: dict[str, Path] = {}
    for file in files:
        name = file.stem if seen[file.stem] == 1 else file.name.replace(".", "_")
        number = 2
        while taken.get(name, file) != file:
            name = f"{file.stem}_{number}"
            number += 1
        taken[name] = file
    return {file: name for name, file in taken.items()}


def _or_stop(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        _stop(str(error))


def _stop(sentence: str) -> Any:
    print(f"vggviz: {sentence}", file=sys.stderr)
    raise typer.Exit(2)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()

"""`vggviz explain`: pictures in, JSON, arrays, figures and reports out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from vggviz.cli.says import or_stop, stop, words

Weights = Annotated[
    str,
    typer.Option(
        help="tiny50, imagenet, imagenet_bn, random, a .safetensors file, or hf:user/repo."
    ),
]
Attention = Annotated[
    str | None, typer.Option(help="none or an attention type; a file brings its own.")
]


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
    formats: Annotated[
        str, typer.Option(help="Files for each picture with commas: json,npz,png,svg,html.")
    ] = "json,npz,png",
    full_range: Annotated[
        bool,
        typer.Option(
            "--full-range",
            help="Show pictures of more than 8 bits by all that their format can hold, not "
            "stretched by the values that they use.",
        ),
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            help="exact, gradients (only gradients in bfloat16) or bf16 (all of it, maps roughly)."
        ),
    ] = "exact",
    engine: Annotated[
        str,
        typer.Option(
            help="local, or ray: Ray Data on all cores, GPUs or machines of a cluster; pictures "
            "whose JSON in the folder says the same was made of them already are skipped."
        ),
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="With ray: how many, by default one a core or GPU.")
    ] = None,
) -> None:
    """Explain pictures: prediction, attention and CAMs as files for each; html is a report."""
    from vggviz.batch import Done, Job, Worker, on_ray
    from vggviz.cam import known
    from vggviz.explanation import FORMATS

    if engine not in ("local", "ray"):
        stop(f"no engine {engine!r}: choose local or ray")
    endings = words(formats)
    for name in endings:
        if name not in FORMATS:
            stop(f"no format {name!r}: choose from {', '.join(FORMATS)}")
    if not endings:
        stop(f"--formats needs one or more of {', '.join(FORMATS)}")
    files = list(_pictures(images))
    chosen = or_stop(known, words(methods))
    job = Job(str(out), weights, attention, precision, sites, chosen, target, endings, full_range)
    worker = or_stop(Worker, asdict(job))
    or_stop(worker.explainer.names, sites)
    if target is not None:
        or_stop(worker.explainer.index, target)
    stems = _stems(files)
    found: Iterator[Done]
    if engine == "ray":
        if not (find_spec("ray") and find_spec("pyarrow")):
            stop("--engine ray needs Ray Data: pip install 'vggviz[ray]'")
        new = {file: stem for file, stem in stems.items() if not worker.explained(file, stem)}
        if len(new) < len(stems):
            print(f"{len(stems) - len(new)} of {len(stems)} pictures were explained already")
        found, total = on_ray(job, new, workers), len(new)
    else:
        rows = ({"file": str(file), "stem": stems[file]} for file in files)
        found, total = (Done(**worker(row)) for row in rows), len(files)
    failed, processes = 0, set[int]()
    hidden = total < 2 or not sys.stderr.isatty()
    for done in tqdm(found, unit="picture", total=total, disable=hidden):
        processes.add(done.process)
        failed += done.failed
        tqdm.write(f"{done.file}: {done.said}", file=sys.stderr if done.failed else sys.stdout)
    if engine == "ray" and total:
        print(f"{total - failed} pictures explained by {len(processes)} workers")
    if failed:
        print(f"{failed} of {total} pictures could not be explained", file=sys.stderr)
        raise typer.Exit(1)


def _pictures(images: list[Path]) -> Iterator[Path]:
    """The files themselves, and the pictures in the folders, in order."""
    from vggviz.images import image_extensions

    endings = image_extensions()
    for path in images:
        if path.is_dir():
            found = sorted(f for f in path.rglob("*") if f.suffix.lower() in endings)
            if not found:
                stop(f"{path}: no pictures in this folder")
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

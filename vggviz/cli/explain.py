"""`vggviz explain`: pictures in, JSON, arrays, figures and reports out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from vggviz.cli.says import or_stop, stop

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif"}

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
) -> None:
    """Explain pictures: prediction, attention and CAMs as files for each; html is a report."""
    from vggviz import Explainer
    from vggviz.cam import known
    from vggviz.explanation import FORMATS

    files = list(_pictures(images))
    explainer = or_stop(Explainer.load, weights, attention)
    chosen = or_stop(known, [name for name in methods.split(",") if name])
    for site in () if sites == "all" else sites.split(","):
        or_stop(explainer.model.path, site)
    if target is not None:
        or_stop(explainer.index, target)
    endings = [name for name in formats.split(",") if name]
    for name in endings:
        if name not in FORMATS:
            stop(f"no format {name!r}: choose from {', '.join(FORMATS)}")
    if not endings:
        stop(f"--formats needs one or more of {', '.join(FORMATS)}")
    stems = _stems(files)
    failed = 0
    for file in tqdm(files, unit="picture", disable=len(files) < 2 or not sys.stderr.isatty()):
        try:
            explanation = explainer.explain(file, sites, chosen, target)
            written = explanation.save(out, stems[file], endings)
        except (ValueError, OSError) as error:
            failed += 1
            tqdm.write(f"{file}: {error}", file=sys.stderr)
            continue
        first = explanation.prediction.top(1)[0]
        note = f" ({explanation.note})" if explanation.note else ""
        tqdm.write(f"{file}: {first.label} {first.probability:.1%}{note} → {written[-1]}")
    if failed:
        print(f"{failed} of {len(files)} pictures could not be explained", file=sys.stderr)
        raise typer.Exit(1)


def _pictures(images: list[Path]) -> Iterator[Path]:
    """The files themselves, and the pictures in the folders, in order."""
    for path in images:
        if path.is_dir():
            found = sorted(f for f in path.rglob("*") if f.suffix.lower() in PICTURES)
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

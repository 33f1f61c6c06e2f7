"""`vggviz explain`: pictures in, JSON, arrays, figures and reports out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from tqdm import tqdm
from typer import Argument, Exit, Option

from vggviz.cli.console import (
    WEIGHTS_HELP,
    fail,
    or_fail,
    print_error,
    print_ignored,
    print_line,
    split_list,
)
from vggviz.cli.network import Device, NetworkOptions, takes_network

Weights = Annotated[str, Option(help=WEIGHTS_HELP)]
Attention = Annotated[
    str | None, Option(help="none, or of: {attention}. A weights file brings its own name.")
]
FULL_RANGE_HELP = (
    "Show pictures of more than 8 bits by all that their format can hold, not stretched by the "
    "values that they use."
)
ENGINE_HELP = (
    "local, or ray: Ray Data on all cores, GPUs or machines of a cluster; pictures whose JSON in "
    "the folder says the same was made of them already are skipped."
)


@takes_network()
def explain(
    images: Annotated[list[Path], Argument(help="Pictures, or folders of pictures.")],
    out: Annotated[Path, Option(help="Folder for the results.")] = Path("out"),
    weights: Weights = "everyday",
    attention: Attention = None,
    network: NetworkOptions = NetworkOptions(),
    stages: Annotated[str, Option(help="all, or names: block4,block5,conv5_4.")] = "all",
    methods: Annotated[str, Option(help="CAM methods, of: {methods}.")] = "gradcam",
    target: Annotated[
        str | None, Option(help="Class as label or index; by default the predicted one.")
    ] = None,
    formats: Annotated[
        str, Option(help="Files for each picture: json,npz,png,svg,html.")
    ] = "json,npz,png",
    lang: Annotated[str, Option(help="Language of figures and reports: en or zh.")] = "en",
    full_range: Annotated[bool, Option("--full-range", help=FULL_RANGE_HELP)] = False,
    precision: Annotated[
        str, Option(help="exact (float32), or bf16: faster where the CPU has it, maps roughly.")
    ] = "exact",
    device: Device = "auto",
    engine: Annotated[str, Option(help=ENGINE_HELP)] = "local",
    workers: Annotated[
        int | None, Option(min=1, help="With ray: how many, by default one a core or GPU.")
    ] = None,
) -> None:
    """Explain pictures: prediction, attention and CAMs as files for each; html is a report."""
    from vggviz.batch import Job, Outcome, Worker, on_ray
    from vggviz.cam import check_methods
    from vggviz.explanation import FORMATS
    from vggviz.locales import LANGUAGES

    if engine not in ("local", "ray"):
        fail(f"no engine {engine!r}: choose local or ray")
    endings = split_list(formats)
    for name in endings:
        if name not in FORMATS:
            fail(f"no format {name!r}: choose from {', '.join(FORMATS)}")
    if not endings:
        fail(f"--formats needs one or more of {', '.join(FORMATS)}")
    if lang not in LANGUAGES:
        fail(f"no language {lang!r}: choose from {', '.join(LANGUAGES)}")
    used = or_fail(check_methods, split_list(methods))
    name, options = network.resolve(weights)
    request = stages, used, target, endings, full_range, options, lang
    job = Job(str(out), name, attention, precision, *request)
    worker = or_fail(Worker, asdict(job), device)
    or_fail(worker.explainer.names, stages)
    if target is not None:
        or_fail(worker.explainer.index, target)
    stems = or_fail(_stems, images, out)
    _check_overwriting(stems, out, endings)
    results: Iterator[Outcome]
    if engine == "ray":
        if not (find_spec("ray") and find_spec("pyarrow")):
            fail("--engine ray needs Ray Data: pip install 'vggviz[ray]'")
        new = {file: stem for file, stem in stems.items() if not worker.is_done(file, stem)}
        if len(new) < len(stems):
            print_line(f"{len(stems) - len(new)} of {len(stems)} pictures were explained already")
        results, total = on_ray(job, new, workers, device), len(new)
    else:
        rows = ({"file": str(file), "stem": stem} for file, stem in stems.items())
        results, total = (Outcome(**worker(row)) for row in rows), len(stems)
    failed, processes = 0, set[int]()
    hidden = total < 2 or not sys.stderr.isatty()
    for outcome in tqdm(results, unit="picture", total=total, disable=hidden):
        processes.add(outcome.process)
        failed += outcome.failed
        (print_error if outcome.failed else print_line)(f"{outcome.file}: {outcome.message}")
    if engine == "ray" and total:
        print_line(f"{total - failed} pictures explained by {len(processes)} workers")
    if failed:
        print_error(f"{failed} of {total} pictures could not be explained")
        raise Exit(1)


def _pictures(folder: Path, out: Path) -> list[Path]:
    """The pictures in a folder, sorted, without those in `out` below it and figures of vggviz.

    Raises ValueError where there is none, OSError where the folder can't be read.
    """
    from vggviz.data import find_pictures
    from vggviz.plotting import is_own_png

    out_folder, inside = out.resolve(), folder.resolve() in out.resolve().parents
    files, ignored = find_pictures(folder)
    print_ignored(ignored, f"{folder}: ")
    if inside:
        files = [file for file in files if out_folder not in file.resolve().parents]
    pictures = [f for f in files if not (f.suffix.lower() == ".png" and is_own_png(f))]
    if len(pictures) < len(files):
        print_error(f"{folder}: left out {len(files) - len(pictures)} figures that vggviz made")
    if not pictures:
        raise ValueError(f"{folder}: no pictures in this folder")
    return pictures


def _stems(images: list[Path], out: Path) -> dict[Path, str]:
    """The pictures among and in `images`, each with the path of its results below `out` without
    extension: its subfolder and stem, or its full name where two share these."""
    places: dict[Path, Path] = {}
    for path in images:
        if path.is_dir():
            for file in _pictures(path, out):
                places.setdefault(file, file.relative_to(path).parent)
        else:
            places.setdefault(path, Path())
    # Without regard to case, as file systems may be.
    shared = Counter((place / file.stem).as_posix().casefold() for file, place in places.items())
    taken: set[str] = set()
    stems: dict[Path, str] = {}
    for file, place in places.items():
        name = (place / file.stem).as_posix()
        if shared[name.casefold()] > 1:
            name = (place / file.name.replace(".", "_")).as_posix()
        number = 2
        while name.casefold() in taken:
            name = (place / f"{file.stem}_{number}").as_posix()
            number += 1
        taken.add(name.casefold())
        stems[file] = name
    return stems


def _check_overwriting(stems: dict[Path, str], out: Path, endings: tuple[str, ...]) -> None:
    """Exit with code 2 where a result would overwrite a picture."""
    inputs = {file.resolve() for file in stems}
    for stem in stems.values():
        for ending in endings:
            if (out / f"{stem}.{ending}").resolve() in inputs:
                fail(
                    f"{out / f'{stem}.{ending}'} is a picture that a result would replace: "
                    "choose another folder with --out"
                )

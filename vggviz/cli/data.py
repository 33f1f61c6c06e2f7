"""`vggviz data`: download a data set."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from vggviz.cli.console import fail, print_line


def data(
    name: Annotated[str, typer.Argument(help="tiny-imagenet")],
    out: Annotated[Path, typer.Option(help="Folder for the archive.")] = Path(),
) -> None:
    """Download the archive of a data set from its authors; a broken download is resumed."""
    from vggviz.data.download import ARCHIVES, FetchError, fetch

    if name not in ARCHIVES:
        fail(f"no data {name!r}: expected {', '.join(ARCHIVES)}")
    archive = ARCHIVES[name]
    with tqdm(
        total=archive.size,
        desc=archive.name,
        unit="B",
        unit_scale=True,
        disable=not sys.stderr.isatty(),
    ) as bar:

        def progress(done: int) -> None:
            if bar.n == 0 and done:
                bar.initial = done  # bytes of an earlier download do not count for the speed
            bar.update(done - bar.n)

        try:
            file = fetch(archive, out, progress=progress)
        except FetchError as error:
            bar.close()
            fail(str(error))
    print_line(str(file))
    print_line(f"vggviz train --data {shlex.quote(str(file))} --out {name}.safetensors")

"""`vggviz convert`: a checkpoint as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vggviz.cli.console import fail, or_fail, print_line


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth, .pt, .pth.tar or .ckpt file.")],
    out: Annotated[
        Path | None, typer.Argument(help="The new file; by default beside it, .safetensors.")
    ] = None,
) -> None:
    """Write the weights in a PyTorch checkpoint to a safetensors file. Nothing in it is run."""
    from vggviz.networks import read_checkpoint
    from vggviz.weights import write_safetensors

    file = out or checkpoint.with_suffix(".safetensors")
    if file.suffix != ".safetensors":
        fail(f"{file} needs a name that ends in .safetensors")
    if file.exists() and checkpoint.exists() and file.samefile(checkpoint):
        fail(f"{file} is a safetensors file already")
    state = or_fail(read_checkpoint, checkpoint)
    # Copies, since tensors may share memory, which safetensors does not keep.
    tensors = {name: value.clone().contiguous() for name, value in state.items()}
    or_fail(write_safetensors, tensors, {}, file)
    print_line(f"{len(tensors)} tensors → {file}")

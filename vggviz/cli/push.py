"""`vggviz push`: a weights file to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vggviz.cli.console import or_fail, print_line


def push(
    hub_repo: Annotated[str, typer.Argument(help="user/repo; made where it is missing.")],
    file: Annotated[Path, typer.Argument(help="The .safetensors file.")],
    private: Annotated[bool, typer.Option("--private", help="For your eyes only.")] = False,
) -> None:
    """Upload a weights file to the Hugging Face Hub, with a model card made from its facts."""
    from vggviz.weights import push_to_hub

    print_line(or_fail(push_to_hub, hub_repo, file, private=private))

"""The options that name a network of any kind, shared by the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vggviz.cli.console import fail, or_fail, split_list

__all__ = [
    "Adapter",
    "Checkpoint",
    "Device",
    "Labels",
    "Mean",
    "MultiLabel",
    "NetworkName",
    "Pretrained",
    "Size",
    "Std",
    "resolve_network",
]

NetworkName = Annotated[
    str | None,
    typer.Option(
        "--network",
        help="timm:NAME, torchvision:NAME, FILE.py:NAME (a class or function of your own; the file "
        "is run), or what --weights takes.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(help="The network's weights: .safetensors, .pth, .pt, .pth.tar or .ckpt."),
]
Adapter = Annotated[
    Path | None,
    typer.Option(
        help="Attention for that network with these weights, as `vggviz train --unlabelled "
        "--network` writes it."
    ),
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda or mps; auto: CUDA where it is, else MPS, else the CPU.")
]
Labels = Annotated[
    Path | None, typer.Option(help="A text file with the network's classes, one a line, in order.")
]
Size = Annotated[int | None, typer.Option(min=1, help="Side of the network's pictures in pixels.")]
Mean = Annotated[
    str, typer.Option(help="Mean of pixels in [0, 1]: one number, or three with commas.")
]
Std = Annotated[str, typer.Option(help="Their standard deviation, as --mean.")]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="Download torchvision's or timm's weights.")
]
MultiLabel = Annotated[
    bool, typer.Option("--multi-label", help="A picture can have several classes: sigmoids.")
]


def resolve_network(
    network: str | None,
    weights: str,
    *,
    checkpoint: Path | None = None,
    labels: Path | None = None,
    size: int | None = None,
    mean: str = "",
    std: str = "",
    pretrained: bool = False,
    multi_label: bool = False,
    adapter: Path | None = None,
) -> tuple[str, dict[str, Any]]:
    """The name and the other arguments for `Explainer.load`. Stops where they make no sense."""
    from vggviz.networks import is_network_name

    name = network or weights
    given = {
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "labels": None if labels is None else or_fail(read_labels, labels),
        "size": size,
        "mean": numbers("--mean", mean),
        "std": numbers("--std", std),
        "pretrained": pretrained,
        "multi_label": multi_label,
        "adapter": None if adapter is None else str(adapter),
    }
    options = {key: value for key, value in given.items() if value not in (None, False)}
    if options and not is_network_name(name):
        names = ", ".join(f"--{key.replace('_', '-')}" for key in options)
        fail(
            f"{names} can't be given with {name!r}, only with a --network such as "
            "torchvision:resnet50, timm:seresnet50 or mynet.py:build"
        )
    return name, options


def numbers(option: str, text: str) -> list[float] | None:
    """The numbers in '0.5,0.5,0.5', None for ''. Stops at what is no such thing."""
    try:
        return [float(word) for word in split_list(text)] or None
    except ValueError:
        fail(f"{option} is one number, or three with commas, not {text!r}")


def read_labels(file: Path) -> list[str]:
    """The lines of a text file, without blanks around them or empty lines at its end.

    Raises ValueError for a file with no lines or with an empty one between others, and for one
    that is no UTF-8; OSError where it can't be read.
    """
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no text in UTF-8") from None
    if not lines or not all(lines):
        raise ValueError(f"{file} must name a class on each of its lines")
    return lines

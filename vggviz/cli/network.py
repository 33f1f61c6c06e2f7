"""The options that name a network of any kind, shared by the commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from vggviz.cli.console import fail, or_fail, split_list

__all__ = ["Device", "NetworkOptions", "takes_network"]

Device = Annotated[
    str, typer.Option(help="cpu, cuda or mps; auto: CUDA where it is, else MPS, else the CPU.")
]


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """The options that name a network of any kind; `takes_network` gives them to a command."""

    network: Annotated[
        str | None,
        typer.Option(
            help="timm:NAME, torchvision:NAME, FILE.py:NAME (a class or function of your own; the "
            "file is run), or what --weights takes.",
        ),
    ] = None
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The network's weights: .safetensors, .pth, .pt, .pth.tar or .ckpt."),
    ] = None
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Attention for that network with these weights, as `vggviz train --unlabelled "
            "--network` writes it."
        ),
    ] = None
    labels: Annotated[
        Path | None,
        typer.Option(help="A text file with the network's classes, one a line, in order."),
    ] = None
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the network's pictures in pixels.")
    ] = None
    mean: Annotated[
        str, typer.Option(help="Mean of pixels in [0, 1]: one number, or three with commas.")
    ] = ""
    std: Annotated[str, typer.Option(help="Their standard deviation, as --mean.")] = ""
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Download torchvision's or timm's weights.")
    ] = False
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="A picture can have several classes: sigmoids.")
    ] = False

    def resolve(self, weights: str) -> tuple[str, dict[str, Any]]:
        """The name and the other arguments for `Explainer.load`, `weights` where there is no
        --network. Stops where they make no sense."""
        from vggviz.networks import is_network_name

        name = self.network or weights
        given = {
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "labels": None if self.labels is None else or_fail(read_labels, self.labels),
            "size": self.size,
            "mean": numbers("--mean", self.mean),
            "std": numbers("--std", self.std),
            "pretrained": self.pretrained,
            "multi_label": self.multi_label,
            "adapter": None if self.adapter is None else str(self.adapter),
        }
        options = {key: value for key, value in given.items() if value not in (None, False)}
        if options and not is_network_name(name):
            names = ", ".join(f"--{key.replace('_', '-')}" for key in options)
            fail(
                f"{names} can't be given with {name!r}, only with a --network such as "
                "torchvision:resnet50, timm:seresnet50 or mynet.py:build"
            )
        return name, options


def takes_network(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator of a command with a parameter `network: NetworkOptions`: on the command line the
    fields of that class stand in its place, but for those named in `without`."""
    hints = get_type_hints(NetworkOptions, include_extras=True)
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hint
        )
        for field in fields(NetworkOptions)
        if field.name not in without
        for hint in [hints[field.name]]
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            chosen = {option.name: values.pop(option.name) for option in options}
            command(**values, network=NetworkOptions(**chosen))

        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            replaced = options if parameter.name == "network" else [parameter]
            keyword = inspect.Parameter.KEYWORD_ONLY
            parameters += [one.replace(kind=keyword) for one in replaced]
        wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
        return wrapped

    return decorate


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

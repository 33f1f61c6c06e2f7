"""A network by its name: 'torchvision:vit_b_16', 'timm:seresnet50' or 'mynet.py:build'."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from vggviz.platform.python_file import nearest, run_file
from vggviz.types import Error

__all__ = ["NetworkError", "is_network_name", "open_network"]


class NetworkError(Error, ValueError):
    """A network that can't be opened, explained, or loaded with the given weights."""


def is_network_name(name: str) -> bool:
    """Whether `open_network` takes such a name: 'timm:…', 'torchvision:…' or 'FILE.py:NAME'."""
    home = name.rpartition(":")[0]
    return home in ("timm", "torchvision") or home.endswith(".py")


def open_network(
    name: str, *, num_classes: int | None = None, pretrained: bool = False
) -> nn.Module:
    """Build the network of this name, with random weights unless `pretrained`.

    'torchvision:NAME' and 'timm:NAME' are those libraries' models. 'FILE.py:NAME' is a class or
    function that returns an `nn.Module`, or a module, in a Python file: the file is run, so it must
    be the user's own. A class or function is called with `num_classes` where that is given and it
    takes it. `pretrained` downloads what torchvision or timm offer.

    Raises NetworkError for an unknown name, with the nearest ones; for a file that is missing or
    can't be run, or without such a network; and where timm is not installed.
    """
    home, _, rest = name.rpartition(":")
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if home == "torchvision":
        from torchvision import models

        _check(rest, models.list_models(module=models), "torchvision")
        return models.get_model(rest, weights="DEFAULT" if pretrained else None, **options)
    if home == "timm":
        try:
            import timm
        except ImportError:
            raise NetworkError("needs_timm") from None
        _check(rest.split(".")[0], timm.list_models(), "timm")
        return timm.create_model(rest, pretrained=pretrained, **options)
    if home.endswith(".py"):
        if pretrained:
            raise NetworkError("network_without_weights", network=name)
        return _from_file(Path(home), rest, num_classes)
    raise NetworkError("no_network", network=name)


def _from_file(file: Path, name: str, num_classes: int | None) -> nn.Module:
    """The network that a Python file defines."""
    found = run_file(file, name, NetworkError)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise NetworkError("not_callable", name=file.name, network=name)
    takes = num_classes is not None and _takes_classes(found)
    try:
        network = found(num_classes=num_classes) if takes else found()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise NetworkError("not_buildable", name=file.name, network=name, why=reason) from error
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise NetworkError("gives_no_network", name=file.name, network=name, kind=kind)
    return network


def _takes_classes(build: Callable[..., Any]) -> bool:
    """Whether a class or function takes `num_classes`, or any keyword."""
    known = inspect.signature(build).parameters
    return "num_classes" in known or any(one.kind is one.VAR_KEYWORD for one in known.values())


def _check(name: str, known: Iterable[str], home: str) -> None:
    names = list(known)
    if name not in names:
        raise NetworkError(
            "no_network_in_library", library=home, network=name, nearest=nearest(name, names)
        )

"""A network by its name: 'torchvision:vit_b_16', 'timm:seresnet50' or 'mynet.py:build'."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from vggviz.types import Error

__all__ = ["NetworkError", "nearest", "open_network"]


class NetworkError(Error, ValueError):
    """A network or its weights can't be had."""


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
    """The network that a Python file defines. The file's folder is where it imports from."""
    if not file.is_file():
        raise NetworkError("no_file", file=str(file))
    spec = importlib.util.spec_from_file_location(f"vggviz_own_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look for it there
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise NetworkError("not_runnable", name=file.name, why=reason) from error
    finally:
        sys.path.remove(str(file.parent.resolve()))
    found = getattr(module, name, None)
    if found is None:
        own = [key for key, value in vars(module).items() if callable(value)]
        raise NetworkError(
            "no_network_in_file", name=file.name, network=name, nearest=nearest(name, own)
        )
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


def nearest(name: str, known: Iterable[str]) -> Error | str:
    """': the nearest are …' as a value of an Error where something is near, else ''."""
    close = difflib.get_close_matches(name, list(known), 3, 0.6)
    return Error("nearest_names", names=", ".join(close)) if close else ""

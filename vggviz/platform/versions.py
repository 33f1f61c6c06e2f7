"""The versions that a result depends on."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

import torch

import vggviz

__all__ = ["library_versions"]


def library_versions() -> dict[str, str]:
    """The versions of vggviz, torch and torchvision."""
    return {
        "vggviz": vggviz.__version__,
        "torch": str(torch.__version__),
        "torchvision": _torchvision(),
    }


@cache
def _torchvision() -> str:
    """Its version, without the second that importing it takes; it is read from a file, once."""
    return version("torchvision")

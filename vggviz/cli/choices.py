"""The help of options whose choices are the keys of `ATTENTION` or `METHODS`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from typer.core import TyperCommand

__all__ = ["Command"]

COLLECTIONS = {"attention": "ATTENTION", "methods": "METHODS"}


class Command(TyperCommand):
    """A command whose options' help may hold `{attention}` and `{methods}`.

    The lists of keys are filled in when the help is shown: they stand beside PyTorch modules, and
    importing PyTorch takes seconds, which no other command line should wait for.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of this command."""
        for param in self.params:
            text = getattr(param, "help", None) or ""
            for field, name in COLLECTIONS.items():
                if f"{{{field}}}" in text:
                    keys = getattr(import_module("vggviz"), name)
                    text = text.replace(f"{{{field}}}", ", ".join(keys))
                    param.help = text  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)

"""The help of options whose choices are the keys of `ATTENTION` and `METHODS`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

__all__ = ["Command"]


class Command(TyperCommand):
    """A command whose options' help may hold `{attention}` and `{methods}`.

    They are filled in when the help is shown: the keys stand beside PyTorch modules, and importing
    PyTorch takes seconds, which no other command line should wait for.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of this command."""
        from vggviz.attention import ATTENTION
        from vggviz.cam import METHODS

        keys = {"{attention}": ", ".join(ATTENTION), "{methods}": ", ".join(METHODS)}
        for param in self.params:
            for field, choices in keys.items():
                text = getattr(param, "help", None) or ""
                if field in text:
                    param.help = text.replace(field, choices)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)

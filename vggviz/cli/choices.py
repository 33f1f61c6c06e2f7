"""The help of options whose choices are the keys of `ATTENTION` or `METHODS`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from vggviz.cli.console import or_fail, split_list

__all__ = ["Command", "attention_keys"]

OWN = "FILE.py:NAME (a class of your own that takes channels; the file is run)"


def attention_keys(text: str) -> tuple[str, ...]:
    """The attention that each of several names with commas means, its code loaded; 'all' is kept.
    Stops where it can't be had."""
    from vggviz import load_attention

    return tuple(
        name if name == "all" else or_fail(load_attention, name) for name in split_list(text)
    )


class Command(TyperCommand):
    """A command whose options' help may hold `{attention}` and `{methods}`.

    Attention is built in, or what packages bring, or FILE.py:NAME.

    The lists of keys are filled in when the help is shown: they stand beside PyTorch modules, and
    importing PyTorch takes seconds, which no other command line should wait for.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of this command."""
        for param in self.params:
            text = getattr(param, "help", None) or ""
            if "{attention}" in text:
                from vggviz.attention.named import attention_names

                text = text.replace("{attention}", ", ".join((*attention_names()[1:], OWN)))
            if "{methods}" in text:
                from vggviz import METHODS

                text = text.replace("{methods}", ", ".join(METHODS))
            if hasattr(param, "help"):
                param.help = text
        super().format_help(ctx, formatter)

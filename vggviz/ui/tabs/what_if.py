"""The tab 'What if'."""

from __future__ import annotations

from vggviz.ui.shell import Shell

NAME = "what_if.name"


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    shell.heading(NAME)

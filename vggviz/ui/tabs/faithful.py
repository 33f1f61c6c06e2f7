"""The tab 'How faithful'."""

from __future__ import annotations

from vggviz.ui.shell import Shell

NAME = "faithful.name"


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    shell.heading(NAME)

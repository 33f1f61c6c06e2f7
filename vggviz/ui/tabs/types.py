"""The tab 'All types'."""

from __future__ import annotations

from vggviz.ui.shell import Shell

NAME = "types.name"


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    shell.heading(NAME)

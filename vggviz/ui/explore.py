"""The first tab: what the network says, where its attention looks, and where Grad-CAM looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import gradio as gr

from vggviz.ui import handlers
from vggviz.ui.shell import Shell

__all__ = ["NAME", "Parts", "build"]

NAME = "explore.name"


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The components of this tab that a new result fills."""

    opacity: gr.Slider
    answer: gr.HTML
    maps: gr.HTML
    channels: gr.HTML


def build(shell: Shell, opacity: float, told: tuple[str, str, str]) -> Parts:
    """Lay the tab out, opened on what is `told`: answer, maps and channels."""
    html = partial(gr.HTML, apply_default_css=False)
    with gr.Row(elem_id="explore"):
        answer = html(told[0], elem_id="answer")
        with gr.Column(elem_id="looks", min_width=0):
            with gr.Row(elem_id="view"):
                shell.site.render()  # type: ignore[no-untyped-call]
                slider = shell.labelled(
                    gr.Slider(0, 1, opacity, step=0.05, elem_id="opacity"),
                    label="explore.opacity",
                )
            maps = html(told[1], elem_id="maps")
            channels = html(told[2], elem_id="channels")
    gr.on(
        [shell.site.input, slider.input],
        handlers.view,
        [shell.shown, shell.site, slider],
        [maps, channels],
        queue=False,
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )
    return Parts(slider, answer, maps, channels)

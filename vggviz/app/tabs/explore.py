"""The first tab: the prediction, the attention at each stage, and class activation maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from vggviz.app import handlers
from vggviz.app.choices import Choices, stage_choices
from vggviz.app.inputs import event_data
from vggviz.app.markup import method_title
from vggviz.app.parts.answer import PICK
from vggviz.app.parts.channels import CHOOSE, channel
from vggviz.app.session import Session, handler
from vggviz.app.shell import OPACITY, PRIVATE, VIEW, Shell
from vggviz.app.view import LAYOUTS, View, view_options
from vggviz.cam import METHODS

__all__ = ["NAME", "Parts", "build", "stage_labels"]

NAME = "explore.name"
PROGRESS = gr.Progress()


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The components of this tab, as in `handlers.ExploreContent`; `missing` is what
    `handlers.add_method` has to compute."""

    answer: gr.HTML
    strip: gr.HTML
    maps: gr.HTML
    channels: gr.HTML
    channel: gr.HTML
    missing: gr.State


def build(shell: Shell, content: handlers.ExploreContent) -> Parts:
    """Lay the tab out with this content, and connect its events."""
    html = partial(gr.HTML, apply_default_css=False)
    with gr.Column(elem_id="explore", min_width=0):
        with gr.Row(elem_id="result"):
            answer = html(content.answer, js_on_load=PICK, elem_id="answer")
            maps = html(content.maps, elem_id="maps")
        with gr.Row(elem_id="network"):
            thumbnails = _switch(shell, "thumbnails")
            strip = html(content.strip, elem_id="strip")
            shell.stage.render()  # type: ignore[no-untyped-call]
        with gr.Row(elem_id="view"):
            shell.view["method"] = _dropdown(shell, "method", _methods)
            shell.view["layout"] = _dropdown(shell, "layout", _layouts)
            shell.view["on"] = _switch(shell, "on")
            shell.view["colours"] = _dropdown(shell, "colours", _colours)
            shell.view["scale"] = _switch(shell, "scale")
            shell.view["thumbnails"] = thumbnails  # last in a View, though first on the page
            opacity = gr.Slider(
                0, 1, OPACITY, step=0.01, elem_id="opacity", buttons=[], show_label=True
            )
            shell.view["opacity"] = shell.labelled(opacity, label="explore.opacity")
        with gr.Row(elem_id="weights-shown"):
            channels = html(content.channels, js_on_load=CHOOSE, elem_id="channels")
            one = html(content.channel, elem_id="channel")
        missing = gr.State(None)
    parts = Parts(answer, strip, maps, channels, one, missing)
    _wire(shell, parts, opacity)
    return parts


def _wire(shell: Shell, parts: Parts, opacity: gr.Slider) -> None:
    """Connect the controls of the view, which is drawn from the last result without a network."""
    quick: dict[str, Any] = {**VIEW, "trigger_mode": "always_last"}
    inputs = [*shell.states, *shell.view_inputs]
    view = shell.view

    @handler
    def redraw(session: Session, *values: str) -> Any:
        """After another stage or other colours: all parts but the answer."""
        content = handlers.draw(session, *values)
        missing = handlers.missing_map(session.current, View(*values))
        return content.strip, content.maps, content.channels, content.channel, missing

    @handler
    def choose_channel(session: Session, stage: str, colours: str, event: gr.EventData) -> str:
        """The part of another channel. Its rank comes from a browser and may be anything."""
        rank = event_data(event).get("rank")
        rank = rank if isinstance(rank, int | float) and rank == rank else 1
        current = View.parse(session, View(stage, colours=colours))
        rank = int(min(max(rank, 1), 10**6))
        return channel(session.lang, session.current, stage, rank, current.colours)

    gr.on(
        [view[name].input for name in ("method", "layout", "on")],
        shell.bind(handlers.draw_maps),
        inputs,
        [parts.maps, parts.missing],
        **quick,
    )
    gr.on(
        [shell.stage.input, *(view[name].input for name in ("colours", "scale", "thumbnails"))],
        shell.bind(redraw),
        inputs,
        [parts.strip, parts.maps, parts.channels, parts.channel, parts.missing],
        **quick,
    )
    parts.channels.select(
        shell.bind(choose_channel),
        [*shell.states, shell.stage, view["colours"]],
        parts.channel,
        **quick,
    )
    # The browser blends, without a request. `change`, since a link sets the opacity, too.
    opacity.change(None, opacity, None, js=_BLEND, **PRIVATE)

    def add_method(session: Session, missing: Any, progress: Any = PROGRESS) -> Any:
        def report(done: int, total: int) -> None:
            title = method_title(session.lang, missing[2]) if missing else ""
            progress((done, total), desc=title)

        return handlers.add_method(session, missing, progress=report)

    computed = gr.State(None)
    parts.missing.change(
        shell.bind(add_method),
        [*shell.states, parts.missing],
        computed,
        show_progress_on=[parts.maps],
        concurrency_id="network",
        trigger_mode="always_last",
        **PRIVATE,
    ).failure(
        shell.bind(handlers.reset_method),
        inputs,
        [view["method"], parts.maps, parts.missing],
        **{**quick, "queue": False},
    )
    # Another result may have come while a slow method ran: the last one is merged and drawn.
    computed.change(
        shell.bind(handlers.merge_maps), [*shell.states, computed], shell.result, **quick
    ).success(shell.bind(handlers.draw_maps), inputs, [parts.maps, parts.missing], **quick)


_BLEND = "(share) => { document.documentElement.style.setProperty('--opacity', share); }"


def stage_labels(session: Session) -> dict[str, Any]:
    """The stages of the last result as a radio's choices, and its label."""
    return {
        "choices": stage_choices(session.current.row, session.lang),
        "label": session.text("explore.stage"),
    }


def _methods(session: Session) -> Choices:
    return [(method_title(session.lang, method), method) for method in METHODS]


def _colours(session: Session) -> Choices:
    return [(name, name) for name in view_options()["colours"]]


def _layouts(session: Session) -> Choices:
    return [(session.text(f"explore.layout.{key}", method="CAM"), key) for key in LAYOUTS]


def _dropdown(shell: Shell, name: str, choices: Callable[[Session], Choices]) -> Any:
    """A dropdown for a field of the view."""

    def labels(session: Session) -> dict[str, Any]:
        return {"choices": choices(session), "label": session.text(f"explore.{name}")}

    first = view_options()[name][0]
    part = gr.Dropdown(
        choices(Session(shell.networks)), value=first, filterable=False, elem_id=name, min_width=0
    )
    return shell.labelled(part, labels)


def _switch(shell: Shell, name: str) -> Any:
    """A segmented control for a field of the view."""
    keys = view_options()[name]

    def labels(session: Session) -> dict[str, Any]:
        choices = [(session.text(f"explore.{name}.{key}"), key) for key in keys]
        return {"choices": choices, "label": session.text(f"explore.{name}")}

    choices = labels(Session(shell.networks))["choices"]
    part = gr.Radio(choices, value=keys[0], elem_id=name, elem_classes="switch", min_width=0)
    return shell.labelled(part, labels)

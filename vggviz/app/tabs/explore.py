"""The first tab: what the network says, where its attention looks, and where Grad-CAM looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from vggviz.app import handlers
from vggviz.app.inputs import sent
from vggviz.app.markup import method_title
from vggviz.app.parts.answer import PICK
from vggviz.app.parts.channels import CHOOSE, channel
from vggviz.app.parts.maps import LAYOUTS, View, view_options
from vggviz.app.pictures import Shown
from vggviz.app.shell import HIDDEN, OPACITY, Shell
from vggviz.app.stages import STAGES
from vggviz.cam import METHODS
from vggviz.locales import text

__all__ = ["NAME", "Parts", "blocks", "build"]

NAME = "explore.name"
PROGRESS = gr.Progress()


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The components of this tab: `view` in the order of `View`, the others as in `Drawn`.

    `wanted` is what `handlers.more` has to compute.
    """

    view: list[Any]
    answer: gr.HTML
    strip: gr.HTML
    maps: gr.HTML
    channels: gr.HTML
    channel: gr.HTML
    wanted: gr.State


def build(shell: Shell, told: handlers.Drawn) -> Parts:
    """Lay the tab out, opened on what is `told`."""
    html = partial(gr.HTML, apply_default_css=False)
    with gr.Column(elem_id="explore", min_width=0):
        with gr.Row(elem_id="network"):
            strip = html(told.strip, elem_id="strip")
            shell.stage.render()  # type: ignore[no-untyped-call]
        with gr.Row(elem_id="view"):
            method = _choice(shell, "method", _methods)
            layout = _choice(shell, "layout", _layouts)
            on = _switch(shell, "on")
            scale = _switch(shell, "scale")
            colours = _choice(shell, "colours", _colours)
            opacity = gr.Slider(
                0, 1, OPACITY, step=0.01, elem_id="opacity", buttons=[], show_label=True
            )
            shell.labelled(opacity, label="explore.opacity")
        with gr.Row(elem_id="result"):
            answer = html(told.answer, js_on_load=PICK, elem_id="answer")
            with gr.Column(elem_id="looks", min_width=0):
                maps = html(told.maps, elem_id="maps")
                with gr.Row(elem_id="weights-shown"):
                    channels = html(told.channels, js_on_load=CHOOSE, elem_id="channels")
                    one = html(told.channel, elem_id="channel")
        wanted = gr.State(None)
    view = [shell.stage, method, layout, on, colours, scale]
    names = (*View._fields[1:], "opacity")
    shell.view.update(zip(names, [*view[1:], opacity], strict=True))
    parts = Parts(view, answer, strip, maps, channels, one, wanted)
    _wire(shell, parts, opacity)
    return parts


def _wire(shell: Shell, parts: Parts, opacity: gr.Slider) -> None:
    """Another view: drawn from what is shown. No network runs.

    In a queue of its own, not outside it: only events of a queue tell that a state has changed.
    """
    quick: dict[str, Any] = {
        "concurrency_id": "view",
        "concurrency_limit": 8,
        **HIDDEN,
        "trigger_mode": "always_last",
        "api_visibility": "private",
    }
    stage, method, layout, on, colours, scale = parts.view

    def look(shown: Shown, lang: str, *view: str) -> Any:
        return handlers.look(shown, *view, lang=lang)

    def redraw(shown: Shown, lang: str, *view: str) -> Any:
        drawn = handlers.draw(shown, *view, lang=lang)
        return [*drawn[2:], handlers.wanted(shown, *view)]

    def rank(shown: Shown, lang: str, stage: str, colours: str, event: gr.EventData) -> str:
        """Another channel. The rank comes from a browser: it may be anything."""
        asked = sent(event).get("rank")
        number = asked if isinstance(asked, int | float) and asked == asked else 1
        view = View.known(View(stage, colours=colours), lang)
        return channel(lang, shown, stage, int(min(max(number, 1), 10**6)), view.colours)

    seen = [shell.shown, shell.lang, *parts.view]
    gr.on(
        [method.input, layout.input, on.input, scale.input],
        look,
        seen,
        [parts.maps, parts.wanted],
        **quick,
    )
    gr.on(
        [stage.input, colours.input],
        redraw,
        seen,
        [parts.strip, parts.maps, parts.channels, parts.channel, parts.wanted],
        **quick,
    )
    parts.channels.select(rank, [shell.shown, shell.lang, stage, colours], parts.channel, **quick)
    # Blending is the browser's: not even the server is asked. A link sets it, too.
    opacity.change(None, opacity, None, js=_BLEND, api_visibility="private")

    def more(
        asked: Any, shown: Shown, own: Any, lang: str, *view: str, progress: Any = PROGRESS
    ) -> Any:
        def report(done: int, total: int) -> None:
            title = method_title(lang, asked.method) if asked else ""
            progress((done, total), desc=title)

        return handlers.more(
            shell.networks, asked, shown, *view, own=own, lang=lang, progress=report
        )

    asked = parts.wanted.change(
        more,
        [parts.wanted, shell.shown, shell.own, shell.lang, *parts.view],
        [shell.shown, parts.maps],
        show_progress_on=[parts.maps],
        concurrency_id="network",
        trigger_mode="always_last",
        api_visibility="private",
    )

    def give_up(shown: Shown, lang: str, *view: str) -> Any:
        return handlers.give_up(shown, *view, lang=lang)

    asked.failure(give_up, seen, [method, parts.maps, parts.wanted], **{**quick, "queue": False})


_BLEND = "(share) => { document.documentElement.style.setProperty('--opacity', share); }"


def blocks(lang: str) -> dict[str, Any]:
    """The stages as a radio's choices, and its label."""
    named = [(text(lang, "explore.block", number=name[-1]), name) for name in STAGES]
    return {"choices": named, "label": text(lang, "explore.stage")}


def _methods(lang: str) -> list[tuple[str, str]]:
    return [(method_title(lang, method), method) for method in METHODS]


def _colours(lang: str) -> list[tuple[str, str]]:
    return [(name, name) for name in view_options()["colours"]]


def _layouts(lang: str) -> list[tuple[str, str]]:
    names = {layout: text(lang, f"explore.layout.{layout}", method="CAM") for layout in LAYOUTS}
    return [(name, layout) for layout, name in names.items()]


def _choice(shell: Shell, name: str, listed: Any) -> Any:
    """A dropdown of the view."""

    def texts(lang: str) -> dict[str, Any]:
        return {"choices": listed(lang), "label": text(lang, f"explore.{name}")}

    first = listed("en")[0][1]
    part = gr.Dropdown(listed("en"), value=first, filterable=False, elem_id=name, min_width=0)
    return shell.labelled(part, texts)


def _switch(shell: Shell, name: str) -> Any:
    """A segmented control of the view."""
    keys = view_options()[name]

    def texts(lang: str) -> dict[str, Any]:
        choices = [(text(lang, f"explore.{name}.{key}"), key) for key in keys]
        return {"choices": choices, "label": text(lang, f"explore.{name}")}

    part = gr.Radio(
        texts("en")["choices"], value=keys[0], elem_id=name, elem_classes="switch", min_width=0
    )
    return shell.labelled(part, texts)

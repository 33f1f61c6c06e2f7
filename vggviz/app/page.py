"""The page: the head, the left column, and the tabs beside it."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from vggviz.app import choices, handlers
from vggviz.app import downloads as take_home
from vggviz.app.events import Column, wire
from vggviz.app.examples import PICK, examples, strip
from vggviz.app.input_guard import Page
from vggviz.app.inputs import Choice, Given, Picture
from vggviz.app.networks import Networks
from vggviz.app.own import Upload
from vggviz.app.shell import Shell
from vggviz.app.tabs import TABS, explore
from vggviz.app.tabs.lazy import wake
from vggviz.app.theme import TURNED
from vggviz.locales import LANGUAGES, text

__all__ = ["HOUR", "QUEUE", "build"]

HOUR = 3600  # seconds that an upload is kept

QUEUE: dict[str, Any] = {
    "max_size": 200,
    "default_concurrency_limit": 2,
    "api_open": False,  # or requests could pass the queue by, and its limits with it
    "status_update_rate": 5,  # not "auto", which tells everyone of every place in the queue
}
"""For `demo.queue`."""

_html = partial(gr.HTML, apply_default_css=False)


def build(networks: Networks | None = None) -> gr.Blocks:
    """The page, opened on the first example. It holds its networks, and no one's pictures."""
    networks = networks or Networks.bundled()
    pictures = examples()
    gr.set_static_paths([example.file for example in pictures])  # served where they lie
    weights = next(iter(networks.choices))
    attention = networks.choices[weights][0]
    opening = Given(pictures[0].file, str(pictures[0].file))
    stage = choices.start(networks.get(weights, attention))
    _, first, _, *parts = handlers.explain(networks, opening, weights, attention, "", "", stage)
    told = handlers.Drawn(*parts)
    labels = networks.labels(weights, attention)

    with Page(
        title="vggviz · what VGG19 looks at",
        analytics_enabled=False,
        delete_cache=(300, HOUR),  # every five minutes, what is older
        fill_width=True,
    ) as demo:
        lang, shown, own, wish = gr.State("en"), gr.State(first), gr.State({}), gr.State(0)
        with gr.Row(elem_id="top"):
            head = _html(_head("en"), js_on_load=TURNED, elem_id="head")
            home = _html(take_home.menu(), js_on_load=take_home.CLICK, elem_id="take")
            switch = gr.Radio(
                [(name, key) for key, name in LANGUAGES.items()],
                value="en",
                elem_id="language",
                elem_classes="switch",
            )
        with gr.Row(elem_id="page"):
            with gr.Column(elem_id="ask", min_width=0):
                picture = Picture(
                    str(pictures[0].file),
                    show_label=False,
                    sources=["upload", "webcam", "clipboard"],
                    buttons=[],
                    elem_id="picture",
                )
                offered = _html(strip(pictures), js_on_load=PICK, elem_id="examples")
                with gr.Column(elem_id="choices", min_width=0):
                    of_weights = Choice(
                        choices.weights_of(networks),
                        value=weights,
                        filterable=False,
                        elem_id="weights",
                    )
                    file = Upload(
                        text("en", "shell.own"),
                        file_types=[".safetensors"],
                        size="sm",
                        elem_id="own",
                    )
                    of_attention = Choice(
                        choices.types_of(networks, weights),
                        value=attention,
                        filterable=False,
                        elem_id="attention",
                    )
                    about = _html(told.about, elem_id="about")
                    target = Choice(choices.classes(labels), value="", elem_id="target")
                    contrast = Choice(
                        choices.classes(labels, none="nothing"), value="", elem_id="contrast"
                    )
            with gr.Tabs(elem_id="tabs", selected="explore") as tabs:
                shell = Shell(
                    networks=networks,
                    picture=picture,
                    weights=of_weights,
                    attention=of_attention,
                    target=target,
                    contrast=contrast,
                    stage=gr.Radio(
                        explore.blocks("en")["choices"], value=stage, elem_id="stage", render=False
                    ),
                    shown=shown,
                    own=own,
                    lang=lang,
                    tabs=tabs,
                    wish=wish,
                )
                rooms: dict[str, gr.Tab] = {}
                with gr.Tab(text("en", explore.NAME), id="explore") as rooms["explore"]:
                    first_tab = explore.build(shell, told)
                shell.labelled(rooms["explore"], label=explore.NAME)
                for key, room in TABS.items():
                    with gr.Tab(text("en", room.NAME), id=key) as rooms[key]:
                        room.build(shell)
                    shell.labelled(rooms[key], label=room.NAME)
                wake(shell, rooms)
        details = gr.JSON(visible=False)

        shell.labelled(head, lambda lang: {"value": _head(lang)})
        shell.labelled(home, lambda lang: {"value": take_home.menu(lang)})
        shell.labelled(switch, label="shell.language")
        shell.labelled(picture, label="shell.picture")
        shell.labelled(offered, lambda lang: {"value": strip(pictures, lang)})
        shell.labelled(of_weights, label="shell.network")
        shell.labelled(file, label="shell.own")
        shell.labelled(of_attention, label="shell.attention")
        shell.labelled(target, label="shell.target")
        shell.labelled(contrast, label="shell.contrast")
        shell.labelled(shell.stage, explore.blocks)
        for component, texts in shell.labels:  # so that each label stands in one place only
            for name, value in texts("en").items():
                setattr(component, name, value)
        column = Column(about, details, file, home, offered, switch, pictures)
        wire(demo, shell, first_tab, column)
    return demo


def _head(lang: str) -> str:
    title, line = (escape(text(lang, key)) for key in ("shell.title", "shell.line"))
    return f'<header lang="{lang}"><h1>{title}</h1><p>{line}</p></header>'

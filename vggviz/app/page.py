"""The page: the head, the settings below it, and the tabs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from vggviz.app import choices, downloads, handlers, page_events, toolbar
from vggviz.app.events import Column, wire
from vggviz.app.examples import PICK, examples, strip
from vggviz.app.input_guard import Page
from vggviz.app.inputs import Choice, Picture, UploadedPicture
from vggviz.app.lessons import card
from vggviz.app.networks import Networks
from vggviz.app.own import PICKLED, Upload
from vggviz.app.session import Session
from vggviz.app.shell import Shell
from vggviz.app.tabs import TABS, explore
from vggviz.app.tabs.lazy import draw_open_tab
from vggviz.app.theme import LANGUAGE_SCRIPT
from vggviz.locales import LANGUAGES, text

__all__ = ["HOUR", "QUEUE", "build"]

HOUR = 3600  # seconds after which an upload is deleted

QUEUE: dict[str, Any] = {
    "max_size": 200,
    "default_concurrency_limit": 2,
    "api_open": False,  # or requests could bypass the queue and its limits
    "status_update_rate": 5,  # seconds; "auto" would send everyone every change in the queue
}
"""Arguments of `demo.queue`."""

_html = partial(gr.HTML, apply_default_css=False)


def build(networks: Networks | None = None) -> gr.Blocks:
    """The page with these networks, opened on the first example."""
    networks = networks or Networks.bundled()
    pictures = examples()
    gr.set_static_paths([example.file for example in pictures])  # or Gradio would copy them
    weights = next(iter(networks.choices))
    attention = networks.choices[weights][0]
    opening = UploadedPicture(pictures[0].file, str(pictures[0].file))
    session = Session(networks)
    _, first, _, *parts = handlers.explain(session, opening, weights, attention, "", "")
    session, content = Session(networks, first), handlers.ExploreContent(*parts)
    labels = networks.labels(weights, attention)

    with Page(
        title="vggviz · where the network looks",
        analytics_enabled=False,
        delete_cache=(300, HOUR),  # checked every five minutes
        fill_width=True,
    ) as demo:
        lang, result, own = gr.State("en"), gr.State(first), gr.State({})
        run_request = gr.State(0)  # inside gr.Tabs it would count as a tab
        with gr.Row(elem_id="top"):
            head = _html(_head("en"), js_on_load=LANGUAGE_SCRIPT, elem_id="head")
            lessons = _html(card.button(), elem_id="open-lessons")
            stage_mode = _html(toolbar.stage_button("en"), elem_id="stage-mode")
            menu = _html(downloads.menu(), js_on_load=downloads.CLICK, elem_id="take")
            language = gr.Radio(
                [(name, key) for key, name in LANGUAGES.items()],
                value="en",
                elem_id="language",
                elem_classes="switch",
            )
        with gr.Column(elem_id="page", min_width=0):
            with gr.Row(elem_id="ask"):
                source = _html(
                    toolbar.source("en"), js_on_load=page_events.LISTEN, elem_id="source"
                )
                strip_ = _html(strip(pictures), js_on_load=PICK, elem_id="examples")
                picture = Picture(
                    str(pictures[0].file),
                    show_label=False,
                    sources=["upload", "webcam"],
                    buttons=[],
                    elem_id="picture",
                )
                with gr.Row(elem_id="choices"):
                    of_weights = Choice(
                        choices=choices.network_choices(session),
                        value=weights,
                        filterable=False,
                        elem_id="weights",
                    )
                    of_attention = Choice(
                        choices.attention_choices(session, weights),
                        value=attention,
                        filterable=False,
                        elem_id="attention",
                    )
                more = _html(toolbar.more("en"), elem_id="more")
                with gr.Row(elem_id="further"):
                    target = Choice(choices.class_choices(labels), value="", elem_id="target")
                    contrast = Choice(
                        choices.class_choices(labels, none="nothing"), value="", elem_id="contrast"
                    )
                    file = Upload(
                        text("en", "shell.own"),
                        file_types=[".safetensors", *PICKLED],
                        size="sm",
                        elem_id="own",
                    )
                    about = _html(content.about, elem_id="about")
            with gr.Tabs(elem_id="tabs", selected="explore") as tabs:
                shell = Shell(
                    networks=networks,
                    picture=picture,
                    weights=of_weights,
                    attention=of_attention,
                    target=target,
                    contrast=contrast,
                    stage=gr.Radio(
                        content.stage["choices"],
                        value=content.stage["value"],
                        elem_id="stage",
                        render=False,
                    ),
                    result=result,
                    own=own,
                    lang=lang,
                    tabs=tabs,
                    run_request=run_request,
                )
                opened: dict[str, gr.Tab] = {}
                with gr.Tab(text("en", explore.NAME), id="explore") as opened["explore"]:
                    first_tab = explore.build(shell, content)
                shell.labelled(opened["explore"], label=explore.NAME)
                for key, tab in TABS.items():
                    with gr.Tab(text("en", tab.NAME), id=key) as opened[key]:
                        tab.build(shell)
                    shell.labelled(opened[key], label=tab.NAME)
                draw_open_tab(shell, opened)
        card.build(shell)
        details = gr.JSON(visible=False)

        shell.labelled(head, lambda session: {"value": _head(session.lang)})
        shell.labelled(lessons, lambda session: {"value": card.button(session.lang)})
        for part, html in (
            (stage_mode, toolbar.stage_button),
            (source, toolbar.source),
            (more, toolbar.more),
        ):
            shell.labelled(part, partial(_translated, html))
        shell.labelled(menu, lambda session: {"value": downloads.menu(session.lang)})
        shell.labelled(language, label="shell.language")
        shell.labelled(picture, label="shell.picture")
        shell.labelled(strip_, lambda session: {"value": strip(pictures, session.lang)})
        shell.labelled(of_weights, label="shell.network")
        shell.labelled(file, label="shell.own")
        shell.labelled(of_attention, label="shell.attention")
        shell.labelled(target, label="shell.target")
        shell.labelled(contrast, label="shell.contrast")
        shell.labelled(shell.stage, explore.stage_labels)
        for component, texts in shell.labels:  # for the components that were built without texts
            for name, value in texts(session).items():
                setattr(component, name, value)
        column = Column(about, details, file, menu, strip_, language, source, pictures)
        wire(demo, shell, first_tab, column)
    return demo


def _head(lang: str) -> str:
    title, line = (escape(text(lang, key)) for key in ("shell.title", "shell.line"))
    skip = toolbar.skip_link(lang)
    return f'<header lang="{lang}">{skip}<h1>{title}</h1><p>{line}</p></header>'


def _translated(html: Callable[[str], str], session: Session) -> dict[str, str]:
    return {"value": html(session.lang)}

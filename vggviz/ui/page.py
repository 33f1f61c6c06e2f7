"""The page: the left column, the tabs beside it, and which event runs what."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from vggviz.images import open_image
from vggviz.ui import api, explore, handlers, take_home
from vggviz.ui.examples import PICK, examples, strip
from vggviz.ui.networks import Networks
from vggviz.ui.own import Upload
from vggviz.ui.pictures import Choice, Given, Picture, refusal
from vggviz.ui.shell import Shell
from vggviz.ui.tabs import TABS
from vggviz.ui.texts import LANGUAGES, preferred, say
from vggviz.vgg import SITES

__all__ = ["QUEUE", "build"]

OPACITY = 0.55
HOUR = 3600

QUEUE: dict[str, Any] = {
    "max_size": 200,
    "default_concurrency_limit": 2,
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
    explain = partial(handlers.explain, networks)
    opening = Given(open_image(pictures[0].file), str(pictures[0].file))
    site = handlers.start(networks.get(weights, attention))
    first = explain(opening, weights, attention, "", site, OPACITY)
    labels = networks.labels(weights, attention)

    def listed(lang: str) -> dict[str, Any]:
        return {"value": strip(pictures, lang)}

    with gr.Blocks(
        title="vggviz · what VGG19 looks at",
        analytics_enabled=False,
        delete_cache=(HOUR, HOUR),
        fill_width=True,
    ) as demo:
        lang = gr.State("en")
        shown = gr.State(first[1])
        own = gr.State({})
        wish = gr.State(0)
        with gr.Row(elem_id="top"):
            head = _html(_head("en"), elem_id="head")
            home = _html(take_home.menu(), js_on_load=take_home.CLICK, elem_id="take")
            switch = gr.Radio(
                [(name, key) for key, name in LANGUAGES.items()], value="en", elem_id="language"
            )
        with gr.Row(elem_id="page"):
            with gr.Column(elem_id="ask", min_width=0):
                picture = Picture(
                    str(pictures[0].file),
                    show_label=False,
                    sources=["upload", "webcam", "clipboard"],
                    buttons=[],
                    height=304,
                    elem_id="picture",
                )
                offered = _html(listed("en")["value"], js_on_load=PICK, elem_id="examples")
                with gr.Column(elem_id="choices", min_width=0):
                    with_weights = Choice(
                        handlers.weights_of(networks),
                        value=weights,
                        filterable=False,
                        elem_id="weights",
                    )
                    file = Upload(
                        say("en", "shell.own"),
                        file_types=[".safetensors"],
                        size="sm",
                        elem_id="own",
                    )
                    with_attention = Choice(
                        handlers.types_of(networks, weights),
                        value=attention,
                        filterable=False,
                        elem_id="attention",
                    )
                    about = _html(first[5], elem_id="about")
                    target = Choice(handlers.classes(labels), value="", elem_id="target")
                    contrast = Choice(
                        [(say("en", "shell.nothing"), ""), *handlers.classes(labels)[1:]],
                        value="",
                        elem_id="contrast",
                    )
            with gr.Tabs(elem_id="tabs", selected="explore") as tabs:
                shell = Shell(
                    networks=networks,
                    picture=picture,
                    weights=with_weights,
                    attention=with_attention,
                    target=target,
                    contrast=contrast,
                    site=gr.Radio(
                        _blocks("en")["choices"], value=site, elem_id="site", render=False
                    ),
                    shown=shown,
                    own=own,
                    lang=lang,
                    tabs=tabs,
                    wish=wish,
                )
                with gr.Tab(say("en", explore.NAME), id="explore") as tab:
                    parts = explore.build(shell, OPACITY, (first[2], first[3], first[4]))
                shell.labelled(tab, label=explore.NAME)
                for key, room in TABS.items():
                    with gr.Tab(say("en", room.NAME), id=key) as tab:
                        room.build(shell)
                    shell.labelled(tab, label=room.NAME)
        details = gr.JSON(visible=False)
        take_home.build(shell, demo, home, pictures, ("explore", *TABS))
        api.build(networks)

        shell.labelled(head, lambda lang: {"value": _head(lang)})
        shell.labelled(switch, label="shell.language")
        shell.labelled(picture, label="shell.picture")
        shell.labelled(offered, listed)
        shell.labelled(with_weights, label="shell.network")
        shell.labelled(file, label="shell.own")
        shell.labelled(with_attention, label="shell.attention")
        shell.labelled(target, label="shell.target")
        shell.labelled(contrast, label="shell.contrast")
        shell.labelled(shell.site, _blocks)
        for component, texts in shell.labels:  # so that each label stands in one place only
            for name, text in texts("en").items():
                setattr(component, name, text)

        asked = [picture, with_weights, with_attention, target, shell.site, parts.opacity]
        asked += [shown, own]
        told = [details, shown, parts.answer, parts.maps, parts.channels, about]
        run: dict[str, Any] = {
            "fn": explain,
            "inputs": asked,
            "outputs": told,
            "show_progress_on": [parts.answer, parts.maps, parts.channels],
            "concurrency_id": "network",
            "trigger_mode": "always_last",
            "api_visibility": "private",
        }
        # A dropdown's `input` comes twice for a click, its `select` not at all for the Enter key.
        # `blur` comes once after either; where nothing was chosen, `shown` has the answer.
        ran = gr.on([picture.input, with_attention.blur, target.blur, wish.change], **run)
        ran.failure(handlers.back, shown, picture, queue=False, api_visibility="private")
        with_weights.blur(
            partial(handlers.choose, networks),
            [with_weights, with_attention, target, shown, own],
            [with_attention, target],
            show_progress_on=[parts.answer, parts.maps, parts.channels],
            concurrency_id="network",
            api_visibility="private",
        ).success(**run)
        file.upload(
            partial(handlers.open_own, networks),
            [file, picture, shell.site, parts.opacity, own],
            [own, with_weights, with_attention, target, shell.site, *told],
            show_progress_on=[parts.answer, parts.maps, parts.channels],
            concurrency_id="network",
            api_visibility="private",
        )

        def pick(event: gr.EventData) -> str:
            """The example that was clicked. The index comes from a browser: it may be anything."""
            index = event._data.get("index")
            if not isinstance(index, int) or not 0 <= index < len(pictures):
                raise refusal("There is no such example.")
            return str(pictures[index].file)

        offered.select(pick, None, picture, queue=False, api_visibility="private").success(**run)

        def speak(request: gr.Request) -> Any:
            """The browser's language, as it opens the page."""
            wanted = preferred(
                request.query_params.get("lang"), request.headers.get("accept-language")
            )
            return wanted if wanted != "en" else gr.skip()

        relabelled: dict[str, Any] = {
            "fn": lambda lang: [lang, *shell.relabel(lang)],
            "inputs": switch,
            "outputs": [lang, *(component for component, _ in shell.labels)],
            "queue": False,
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        switch.change(**relabelled)
        demo.load(speak, None, switch, queue=False, api_visibility="private")
    return demo


def _head(lang: str) -> str:
    title, line = (escape(say(lang, key)) for key in ("shell.title", "shell.line"))
    return f'<header lang="{lang}"><h1>{title}</h1><p>{line}</p></header>'


def _blocks(lang: str) -> dict[str, Any]:
    """The sites as a radio's choices, and its label."""
    named = [(say(lang, "explore.block", number=name[-1]), name) for name in SITES]
    return {"choices": named, "label": say(lang, "explore.site")}

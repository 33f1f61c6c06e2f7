"""Which event of the head, the settings and the answer runs which handler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr

from vggviz.app import api, downloads, handlers, page_events
from vggviz.app.errors import user_error
from vggviz.app.examples import Example
from vggviz.app.inputs import event_data
from vggviz.app.session import Session
from vggviz.app.shell import HIDDEN, PRIVATE, VIEW, Shell
from vggviz.app.tabs.explore import Parts
from vggviz.locales import preferred_language

__all__ = ["Column", "wire"]


class Column(NamedTuple):
    """The components of the head and of the settings that no tab needs; `details` holds the
    explanation as JSON, `file` is the upload of weights, `downloads` the menu, `source` the carrier
    of what the page's scripts ask."""

    about: gr.HTML
    details: gr.JSON
    file: gr.UploadButton
    downloads: gr.HTML
    examples: gr.HTML
    language: gr.Radio
    source: gr.HTML
    pictures: Sequence[Example]


def wire(demo: gr.Blocks, shell: Shell, parts: Parts, column: Column) -> None:
    """Connect every event of the head, of the settings and of the answer, where a class can be
    chosen; and register the API, whose events are the only public ones."""
    api.build(shell.networks)  # first: Gradio numbers a name that a private event has already
    dropdowns, states, view = shell.dropdowns, shell.states, shell.view_inputs
    content = [
        *(parts.answer, column.about, parts.strip, parts.maps, parts.channels, parts.channel),
        shell.stage,
    ]
    last, number = "always_last", shell.run_request
    waiting: dict[str, Any] = {
        "show_progress_on": [parts.answer, parts.maps, parts.channels],
        "concurrency_id": "network",
        "trigger_mode": last,
        **PRIVATE,
    }
    restore: dict[str, Any] = {
        "fn": shell.bind(handlers.restore),
        "inputs": states,
        "outputs": [shell.picture, *dropdowns],
        "queue": False,
        **HIDDEN,
    }
    # One event explains, whatever was chosen: so no explanation is overwritten by an earlier one
    # that took longer. Others ask for it by another `run_request`.
    # A dropdown's `input` comes twice for a click, its `select` not at all for the Enter key.
    # `blur` comes once after either; where nothing was chosen, the session has the result already.
    drawing = gr.State(None)
    blurs = [shell.attention.blur, shell.target.blur, shell.contrast.blur]
    explanation = gr.on(
        [number.change, *blurs],
        shell.bind(handlers.explain_chosen),
        [*states, shell.picture, *dropdowns, *view],
        [column.details, shell.result, parts.missing, *content, drawing],
        **waiting,
    )
    explanation.failure(**restore)
    explanation.success(
        shell.bind(handlers.redraw_stale),
        [*states, drawing, *view],
        [parts.missing, *content],
        **VIEW,
    )

    # Classes are cleared in the browser, at once: an answer from here may come after a link's own.
    classes = dropdowns[2:]
    picture = shell.picture.input(None, classes, classes, js=_NO_CLASS, **PRIVATE)
    picture.success(lambda number: number + 1, number, number, **VIEW)

    def choose_network(session: Session, number: int, *chosen: str) -> tuple[Any, ...]:
        return number + 1, *handlers.choose_network(session, *chosen)

    shell.weights.blur(
        shell.bind(choose_network),
        [*states, number, *dropdowns],
        [number, *dropdowns[1:]],
        **waiting,
    ).failure(**restore)

    def open_own(
        session: Session, number: int, file: Any, picture: Any, *view: str
    ) -> tuple[Any, ...]:
        """The network, chosen, and its first stage; what it says of the picture is in the cache."""
        own, *found = handlers.open_own(session, file, picture, *view)
        return number + 1, own, *found[: len(dropdowns)], found[-1]

    column.file.upload(
        shell.bind(open_own),
        [*states, number, column.file, shell.picture, *view],
        [number, shell.own, *dropdowns, shell.stage],
        **waiting,
    )

    def pick_example(session: Session, number: int, event: gr.EventData) -> tuple[Any, ...]:
        """The example that was clicked, and no chosen classes. The index comes from a browser: it
        may be anything."""
        index = event_data(event).get("index")
        if not isinstance(index, int) or not 0 <= index < len(column.pictures):
            raise user_error(session.text("trouble.example"))
        return number + 1, str(column.pictures[index].file), "", ""

    def pick_class(session: Session, number: int, event: gr.EventData) -> tuple[Any, ...]:
        """The class that was clicked in the answer."""
        index = event_data(event).get("index")
        if not isinstance(index, int):
            raise user_error(session.text("trouble.class"))
        return number + 1, str(index)

    # `multiple`, since what waits with 'always_last' comes with the data of the first event.
    clicks: dict[str, Any] = {"inputs": [*states, number], "trigger_mode": "multiple", **VIEW}
    column.examples.select(
        shell.bind(pick_example),
        outputs=[number, shell.picture, shell.target, shell.contrast],
        **clicks,
    )
    parts.answer.select(shell.bind(pick_class), outputs=[number, shell.target], **clicks)
    page_events.build(shell, column.source, column.pictures)
    downloads.build(
        shell, _language(demo, shell, column, content), column.downloads, column.pictures
    )


# The classes of one picture say nothing about another; a picture that comes back keeps them.
_NO_CLASS = "(...classes) => window.vggviz.returning ? classes : ['', '']"


def _language(demo: gr.Blocks, shell: Shell, column: Column, content: Sequence[Any]) -> Any:
    """Connect the language: another one sets the labels in `shell.labels` and the choices of the
    dropdowns, and renders all HTML anew. Returns the event that sets the browser's language as the
    page opens."""
    dropdowns, states = shell.dropdowns, shell.states
    others = [one for one, _ in shell.labels if one not in dropdowns]
    translated = [shell.lang, *dropdowns, *others]
    html = content[:-1]  # the stages are among the labels already

    def translate(session: Session, language: str, weights: str, attention: str) -> list[Any]:
        lang = preferred_language(language, None)
        session = replace(session, lang=lang)
        labels = {id(one): labels(session) for one, labels in shell.labels}
        choices = handlers.translate_choices(session, weights, attention)
        updates = [
            {**gr.update(**labels[id(one)]), **new}
            for one, new in zip(dropdowns, choices, strict=True)
        ]
        return [lang, *updates, *(gr.update(**labels[id(one)]) for one in others)]

    column.language.input(
        shell.bind(translate),
        [*states, column.language, shell.weights, shell.attention],
        translated,
        trigger_mode="always_last",
        **{**HIDDEN, "queue": True},  # or `lang.change` would not fire
    ).success(
        shell.bind(handlers.draw), [*states, *shell.view_inputs], content, queue=False, **HIDDEN
    )

    def browser_language(
        session: Session, weights: str, attention: str, request: gr.Request, *view: str
    ) -> Any:
        """The page in the browser's language as it opens: before a link is read, and outside the
        queue, so that no visitor waits for it."""
        lang = preferred_language(
            request.query_params.get("lang"), request.headers.get("accept-language")
        )
        if lang == "en":
            return [gr.skip()] * len([*translated, *html])
        parts = translate(session, lang, weights, attention)
        parts[translated.index(column.language)]["value"] = lang
        session = replace(session, lang=lang)
        return [*parts, *handlers.draw(session, *view)[:-1]]

    return demo.load(
        shell.bind(browser_language),
        [*states, shell.weights, shell.attention, *shell.view_inputs],
        [*translated, *html],
        queue=False,
        **HIDDEN,
    )

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
from vggviz.app.shell import HIDDEN, PRIVATE, Shell
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
    outputs = [column.details, shell.result, parts.missing, *content]

    waiting: dict[str, Any] = {
        "show_progress_on": [parts.answer, parts.maps, parts.channels],
        "concurrency_id": "network",
        **PRIVATE,
    }
    quiet: dict[str, Any] = {"queue": False, **HIDDEN}
    run: dict[str, Any] = {
        "fn": shell.bind(handlers.explain),
        "inputs": [*states, shell.picture, *dropdowns, *view],
        "outputs": outputs,
        "trigger_mode": "always_last",
        **waiting,
    }

    def restore(session: Session) -> Any:
        """The picture and the choices of the last good result."""
        return list(session.current.request)

    def explain_after(event: Any) -> None:
        """Explain after this event; where that fails, restore what the last result was of."""
        event.success(**run).failure(
            shell.bind(restore), states, [shell.picture, *dropdowns], **quiet
        )

    # A dropdown's `input` comes twice for a click, its `select` not at all for the Enter key.
    # `blur` comes once after either; where nothing was chosen, the session has the result already.
    blurs = [shell.attention.blur, shell.target.blur, shell.contrast.blur]
    explanation = gr.on([shell.run_request.change, *blurs], **run)
    explanation.failure(shell.bind(restore), states, [shell.picture, *dropdowns], **quiet)
    explain_after(shell.picture.input(None, dropdowns[2:], dropdowns[2:], js=_NO_CLASS, **PRIVATE))

    explain_after(
        shell.weights.blur(
            shell.bind(handlers.choose_network), [*states, *dropdowns], dropdowns[1:], **waiting
        )
    )
    column.file.upload(
        shell.bind(handlers.open_own),
        [*states, column.file, shell.picture, *view],
        [shell.own, *dropdowns, *outputs],
        **waiting,
    )

    def pick_example(session: Session, event: gr.EventData) -> tuple[str, str, str]:
        """The example that was clicked, and no chosen classes. The index comes from a browser: it
        may be anything."""
        index = event_data(event).get("index")
        if not isinstance(index, int) or not 0 <= index < len(column.pictures):
            raise user_error(session.text("trouble.example"))
        return str(column.pictures[index].file), "", ""

    chosen = [shell.picture, shell.target, shell.contrast]
    explain_after(column.examples.select(shell.bind(pick_example), states, chosen, **quiet))

    def pick_class(session: Session, event: gr.EventData) -> str:
        """The class that was clicked in the answer."""
        index = event_data(event).get("index")
        if not isinstance(index, int):
            raise user_error(session.text("trouble.class"))
        return str(index)

    explain_after(parts.answer.select(shell.bind(pick_class), states, shell.target, **quiet))
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

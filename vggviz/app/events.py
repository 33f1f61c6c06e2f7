"""Which event of the left column runs what, and how the page changes its language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from vggviz.app import api, handlers
from vggviz.app import downloads as take_home
from vggviz.app.examples import Example
from vggviz.app.inputs import sent
from vggviz.app.pictures import Shown, refusal
from vggviz.app.shell import HIDDEN, Shell
from vggviz.app.tabs import TABS
from vggviz.app.tabs.explore import Parts
from vggviz.locales import preferred_language, text

__all__ = ["Column", "wire"]


class Column(NamedTuple):
    """The components of the head and of the left column that no other tab needs; `details` holds
    the JSON, `home` the menu of what people take home."""

    about: gr.HTML
    details: gr.JSON
    file: gr.UploadButton
    home: gr.HTML
    offered: gr.HTML
    switch: gr.Radio
    pictures: Sequence[Example]


def wire(demo: gr.Blocks, shell: Shell, parts: Parts, column: Column) -> None:
    """Every event of the head, of the left column and of the answer, which chooses a class; and
    the API, the only events that others may call."""
    networks = shell.networks
    api.build(networks)  # first: Gradio numbers a name that a private event has already
    chosen = [shell.weights, shell.attention, shell.target, shell.contrast]
    session = [shell.shown, shell.own, shell.lang]
    drawn = [parts.answer, column.about, parts.strip, parts.maps, parts.channels, parts.channel]
    told = [column.details, shell.shown, parts.wanted, *drawn]

    def explain(
        picture: Any,
        weights: str,
        attention: str,
        target: str,
        contrast: str,
        shown: Any,
        own: Any,
        lang: str,
        *view: str,
    ) -> Any:
        asked = (picture, weights, attention, target, contrast)
        return handlers.explain(networks, *asked, *view, shown=shown, own=own, lang=lang)

    waiting: dict[str, Any] = {
        "show_progress_on": [parts.answer, parts.maps, parts.channels],
        "concurrency_id": "network",
        "api_visibility": "private",
    }
    quiet: dict[str, Any] = {
        "queue": False,
        **HIDDEN,
        "api_visibility": "private",
    }
    run: dict[str, Any] = {
        "fn": explain,
        "inputs": [shell.picture, *chosen, *session, *parts.view],
        "outputs": told,
        "trigger_mode": "always_last",
        **waiting,
    }

    def back(shown: Shown) -> Any:
        """The picture and the choices of the last good result."""
        return list(shown.question)

    def then(event: Any) -> None:
        """Explain after this event; where that fails, go back to what the last result was of."""
        event.success(**run).failure(back, shell.shown, [shell.picture, *chosen], **quiet)

    # A dropdown's `input` comes twice for a click, its `select` not at all for the Enter key.
    # `blur` comes once after either; where nothing was chosen, `shown` has the answer.
    blurred = [shell.attention.blur, shell.target.blur, shell.contrast.blur]
    ran = gr.on([shell.picture.input, shell.wish.change, *blurred], **run)
    ran.failure(back, shell.shown, [shell.picture, *chosen], **quiet)

    def choose(
        weights: str, attention: str, target: str, contrast: str, shown: Any, own: Any, lang: str
    ) -> Any:
        asked = (weights, attention, target, contrast)
        return handlers.choose(networks, *asked, shown, own, lang)

    then(shell.weights.blur(choose, [*chosen, *session], chosen[1:], **waiting))

    def open_own(file: Any, picture: Any, shown: Any, own: Any, lang: str, *view: str) -> Any:
        return handlers.open_own(networks, file, picture, *view, shown=shown, own=own, lang=lang)

    column.file.upload(
        open_own,
        [column.file, shell.picture, *session, *parts.view],
        [shell.own, *chosen, shell.stage, *told],
        **waiting,
    )

    def pick(lang: str, event: gr.EventData) -> str:
        """The example that was clicked. The index comes from a browser: it may be anything."""
        index = sent(event).get("index")
        if not isinstance(index, int) or not 0 <= index < len(column.pictures):
            raise refusal(text(lang, "trouble.example"))
        return str(column.pictures[index].file)

    then(column.offered.select(pick, shell.lang, shell.picture, **quiet))

    def explained(lang: str, event: gr.EventData) -> str:
        """The class that was clicked in the answer."""
        index = sent(event).get("index")
        if not isinstance(index, int):
            raise refusal(text(lang, "trouble.class"))
        return str(index)

    then(parts.answer.select(explained, shell.lang, shell.target, **quiet))

    # The language: labels by `shell`, choices by what is chosen, all else drawn anew.
    dropdowns = set(map(id, chosen))
    others = [one for one, _ in shell.labels if id(one) not in dropdowns]
    spoken = [shell.lang, *chosen, *others]

    def speak(lang: str, weights: str, attention: str, own: Any) -> Any:
        lang = preferred_language(lang, None)
        told = dict(zip((id(one) for one, _ in shell.labels), shell.relabel(lang), strict=True))
        listed = handlers.spoken(networks, weights, attention, own, lang)
        named = [{**told[id(one)], **new} for one, new in zip(chosen, listed, strict=True)]
        return [lang, *named, *(told[id(one)] for one in others)]

    def redraw(shown: Shown, lang: str, *view: str) -> Any:
        return list(handlers.draw(shown, *view, lang=lang))

    column.switch.input(
        speak,
        [column.switch, shell.weights, shell.attention, shell.own],
        spoken,
        trigger_mode="always_last",
        **{**quiet, "queue": True},  # or `lang.change` would not fire
    ).success(redraw, [shell.shown, shell.lang, *parts.view], drawn, **quiet)

    def preference(
        weights: str, attention: str, own: Any, shown: Shown, request: gr.Request, *view: str
    ) -> Any:
        """The browser's language, as it opens the page: all at once, before a link is read, and
        not in the queue, so that no one waits for it."""
        asked, accepted = request.query_params.get("lang"), request.headers.get("accept-language")
        wanted = preferred_language(asked, accepted)
        if wanted == "en":
            return [gr.skip()] * len(spoken + drawn)
        told = speak(wanted, weights, attention, own)
        told[spoken.index(column.switch)]["value"] = wanted
        return told + redraw(shown, wanted, *view)

    opened = demo.load(
        preference,
        [shell.weights, shell.attention, shell.own, shell.shown, *parts.view],
        spoken + drawn,
        **quiet,
    )
    take_home.build(shell, opened, column.home, column.pictures, ("explore", *TABS))

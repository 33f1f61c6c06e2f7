"""What all tabs share: the left column's components, the session's states, and the language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any

import gradio as gr

from vggviz.app.networks import Networks
from vggviz.locales import text

__all__ = ["HIDDEN", "OPACITY", "Shell"]

OPACITY = 0.55
"""Of maps over a picture, as the page opens."""

HIDDEN: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": []}
"""For an event whose progress shows nowhere. "hidden" alone would have the browser tell each of
its outputs how it goes on, and again at every later event of the page, with a copy of all that is
inside of it: with a tab among them the page stood still for up to half a second."""

Relabel = Callable[[str], dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Shell:
    """The components and states of one page that more than one tab reads or sets.

    `picture` gives a `Given`; `weights`, `attention`, `target`, `contrast` are dropdowns (keys;
    a class index as text, '' for none); `stage` is one of `STAGES`. `shown` holds the last good
    result (`Shown`), `own` the session's networks (`Owned`), `lang` the language's code.
    `tabs` opens a tab by its id. `shown.change` and `lang.change` fire where these change. Another
    value in `wish` makes the page explain what the left column says; `calls` are the states, by
    tab, that tell a tab what to show (see `tabs.waking`), and `view` the components of the first
    tab's view by name, but for the stage: what a `View` says, and `opacity`.
    """

    networks: Networks
    picture: gr.Image
    weights: gr.Dropdown
    attention: gr.Dropdown
    target: gr.Dropdown
    contrast: gr.Dropdown
    stage: gr.Radio
    shown: gr.State
    own: gr.State
    lang: gr.State
    tabs: gr.Tabs
    wish: gr.State
    calls: dict[str, gr.State] = field(default_factory=dict[str, gr.State])
    view: dict[str, Any] = field(default_factory=dict[str, Any])
    labels: list[tuple[Any, Relabel]] = field(default_factory=list)

    def labelled(self, component: Any, relabel: Relabel | None = None, **keys: str) -> Any:
        """The component itself, relabelled from now on whenever the language changes.

        `keys` are text keys by property: `labelled(button, value="pixel.ask")`. What needs more
        than a text, as a list of choices, is made by `relabel(lang)`, a dict of properties.
        """

        def texts(lang: str) -> dict[str, Any]:
            return {name: text(lang, key) for name, key in keys.items()}

        self.labels.append((component, relabel or texts))
        return component

    def line(self, key: str) -> gr.HTML:
        """A line below the heading that says what there is to do."""

        def line(lang: str) -> dict[str, Any]:
            return {"value": f'<p class="line">{escape(text(lang, key))}</p>'}

        part = gr.HTML(line("en")["value"], apply_default_css=False)
        self.labels.append((part, line))
        return part

    def relabel(self, lang: str) -> list[Any]:
        """What every labelled component is called in this language, in the order of `labels`."""
        return [gr.update(**texts(lang)) for _, texts in self.labels]

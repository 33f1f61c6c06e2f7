"""What all tabs share: the settings' components, the visitor's states, and the language."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from html import escape
from inspect import Parameter
from typing import Any

import gradio as gr

from vggviz.app.networks import Networks, OwnNetworks
from vggviz.app.result import Result
from vggviz.app.session import Session
from vggviz.locales import text

__all__ = ["HIDDEN", "OPACITY", "PRIVATE", "VIEW", "Shell"]

OPACITY = 0.55
"""Of maps over a picture, as the page opens."""

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Arguments of every event but the named API's: programs can't call it."""

HIDDEN: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], **PRIVATE}
"""Arguments of an event without a progress indicator.

`show_progress="hidden"` alone would have the browser update the loading status of each output, and
again at every later event of the page, with a copy of all that is inside of it: with a tab among
the outputs the page froze for up to half a second. An empty `show_progress_on` prevents that.
"""

VIEW: dict[str, Any] = {"concurrency_id": "view", "concurrency_limit": 8, **HIDDEN}
"""Arguments of a quick event, which runs no network.

It has a queue, since outside of any it would not fire a state's `change`, but one of its own.
"""

Labels = Callable[[Session], dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Shell:
    """The components and states of one page that more than one tab reads or sets.

    `picture` gives an `UploadedPicture`; `weights`, `attention`, `target`, `contrast` are dropdowns
    of keys (a class by its index as text, '' for none); `stage` is the radio of the result's
    stages. The states of a visitor are `result` (the last good `Result`), `own` (`OwnNetworks`) and
    `lang` (a language code): a handler gets them as a `Session`. `tabs` opens a tab by its id.

    A new value of `run_request` makes the page explain the picture and the settings.
    `sessions` holds, for each tab, the state with the session that the tab shows (see
    `tabs.lazy`); `view` the components of a `View`'s fields except the stage, and of `opacity`, by
    name.

    `labels` are the components whose labels depend on the language, each with a function that
    returns its properties for a session.
    """

    networks: Networks
    picture: gr.Image
    weights: gr.Dropdown
    attention: gr.Dropdown
    target: gr.Dropdown
    contrast: gr.Dropdown
    stage: gr.Radio
    result: gr.State
    own: gr.State
    lang: gr.State
    tabs: gr.Tabs
    run_request: gr.State
    sessions: dict[str, gr.State] = field(default_factory=dict[str, gr.State])
    view: dict[str, Any] = field(default_factory=dict[str, Any])
    labels: list[tuple[Any, Labels]] = field(default_factory=list)

    @property
    def states(self) -> list[gr.State]:
        """The inputs that `bind` functions need before their own."""
        return [self.result, self.own, self.lang]

    @property
    def dropdowns(self) -> list[gr.Dropdown]:
        """The four dropdowns of the settings, in the order of `Request`'s fields."""
        return [self.weights, self.attention, self.target, self.contrast]

    @property
    def view_inputs(self) -> list[Any]:
        """The components of a `View`, in its order."""
        return [self.stage, *(part for name, part in self.view.items() if name != "opacity")]

    def bind(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of a session as an event's function of the values of `states` and its other
        inputs.

        Its parameters keep their annotations and defaults, by which Gradio knows what to pass for
        `gr.EventData`, `gr.Request` and `gr.Progress`.
        """

        @wraps(function)
        def call(result: Result, own: OwnNetworks, lang: str, *inputs: Any, **named: Any) -> Any:
            return function(Session(self.networks, result, own, lang), *inputs, **named)

        @wraps(function)
        def generate(
            result: Result, own: OwnNetworks, lang: str, *inputs: Any, **named: Any
        ) -> Any:
            yield from function(Session(self.networks, result, own, lang), *inputs, **named)

        event = generate if inspect.isgeneratorfunction(function) else call
        states = [Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in ("result", "own", "lang")]
        _, *inputs = inspect.signature(function).parameters.values()
        event.__signature__ = inspect.Signature([*states, *inputs])  # type: ignore[attr-defined]
        return event

    def labelled(self, component: Any, labels: Labels | None = None, **keys: str) -> Any:
        """Register a component whose labels depend on the language, and return it.

        `keys` are text keys by property: `labelled(button, value="pixel.ask")`; `labels`, in their
        place, is a function for properties that are no text, such as a list of choices.
        """

        def texts(session: Session) -> dict[str, Any]:
            return {name: session.text(key) for name, key in keys.items()}

        self.labels.append((component, labels or texts))
        return component

    def line(self, key: str) -> gr.HTML:
        """A line below the heading that says what there is to do."""

        def line(lang: str) -> str:
            return f'<p class="line">{escape(text(lang, key))}</p>'

        part = gr.HTML(line("en"), apply_default_css=False)
        self.labelled(part, lambda session: {"value": line(session.lang)})
        return part

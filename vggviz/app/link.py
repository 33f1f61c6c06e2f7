"""The state of the page as the query of a link, and back to the values of its components."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import gradio as gr

from vggviz.app.choices import attention_choices, class_choices, first_stage, stage_choices
from vggviz.app.examples import Example, example_classes
from vggviz.app.inputs import event_data
from vggviz.app.session import Session
from vggviz.app.shell import OPACITY, Shell
from vggviz.app.view import View, view_options
from vggviz.locales import LANGUAGES
from vggviz.weights import REPLACED

__all__ = [
    "COMPONENTS",
    "PageState",
    "address",
    "component_updates",
    "components",
    "connect",
    "page_state",
    "query",
    "read_query",
]

COMPONENTS = (
    *("picture", "weights", "attention", "target", "contrast", "tabs", "stage"),
    *(*View._fields[1:], "opacity"),
)
"""The components of the page that `component_updates` sets, in order."""


class PageState(NamedTuple):
    """A state of the page, each part '' for its value on a newly opened page: an example by its
    file's stem, weights and attention by their keys, a stage, the labels of two classes, the rest
    of a `View` and its opacity, a tab and a language by key."""

    example: str = ""
    weights: str = ""
    attention: str = ""
    stage: str = ""
    target: str = ""
    contrast: str = ""
    method: str = ""
    layout: str = ""
    on: str = ""
    colours: str = ""
    scale: str = ""
    thumbnails: str = ""
    opacity: str = ""
    tab: str = ""
    lang: str = ""


def components(shell: Shell) -> list[Any]:
    """The components that `component_updates` sets."""
    return [shell.view[one] if one in shell.view else getattr(shell, one) for one in COMPONENTS]


def connect(shell: Shell, part: gr.HTML, function: Callable[..., Any], **how: Any) -> None:
    """Set the page's components by what the script of `part` asks for, with a `select` event.

    `function` takes a session, the event's data, which come from a browser and may be anything, and
    `run_request`; it returns the updates of `COMPONENTS` and a new `run_request`. `how` are further
    arguments of the event.
    """

    def ask(session: Session, run_request: int, event: gr.EventData) -> tuple[Any, ...]:
        found: tuple[Any, ...] = function(session, event_data(event), run_request)
        return found

    part.select(
        shell.bind(ask),
        [*shell.states, shell.run_request],
        [*components(shell), shell.run_request],
        concurrency_id="network",
        trigger_mode="always_last",
        **how,
    )


def query(state: PageState) -> str:
    """The state as a query, without the question mark."""
    return urlencode({name: value for name, value in state._asdict().items() if value})


def read_query(
    session: Session,
    parameters: Mapping[str, str],
    pictures: Sequence[Example],
    tabs: Sequence[str],
) -> tuple[PageState, tuple[str, ...]]:
    """The state in a query, and the names of its parts whose values don't exist and are ignored.

    Nothing in a query is trusted: only networks that all visitors share, bundled examples and the
    network's own classes are accepted. Parameters with other names are not looked at.
    """
    if "site" in parameters:  # links made before version 0.2
        parameters = {"stage": parameters["site"], **parameters}
    if parameters.get("weights") in REPLACED:
        parameters = {**parameters, "weights": REPLACED[parameters["weights"]]}
    if parameters.get("tab") == "lessons":  # which are a card now: the browser opens it
        parameters = {**parameters, "tab": ""}
    requested = {name: parameters.get(name, "") for name in PageState._fields}
    networks = session.networks
    offered: dict[str, Sequence[str]] = {
        "example": [example.file.stem for example in pictures],
        "weights": tuple(networks.choices),
        **view_options(),
        "tab": tabs,
        "lang": tuple(LANGUAGES),
    }
    state = {name: value for name, value in requested.items() if value in offered.get(name, ())}
    weights = state.get("weights") or next(iter(networks.choices))
    types = networks.types(weights)
    if requested["attention"] in types:
        state["attention"] = requested["attention"]
    if requested["stage"] or requested["target"] or requested["contrast"]:
        explainer = networks.get(weights, state.get("attention") or types[0])
        if requested["stage"] in explainer.model.stages:
            state["stage"] = requested["stage"]
        for name in ("target", "contrast"):
            with suppress(ValueError):  # no such class
                if requested[name]:
                    state[name] = explainer.labels[explainer.index(requested[name])]
    with suppress(ValueError):  # no number
        if 0 <= float(requested["opacity"]) <= 1:
            state["opacity"] = requested["opacity"]
    ignored = tuple(name for name, value in requested.items() if value and name not in state)
    return PageState(**state), ignored


def page_state(
    session: Session,
    view: View,
    tab: str,
    pictures: Sequence[Example],
    target: str = "",
    opacity: float = OPACITY,
) -> PageState | None:
    """The state of the page, '' for all values that a newly opened page has; None where the picture
    or the network is the visitor's own.

    `target` is the class that was chosen, by its index as the dropdown has it, '' for none.
    """
    result = session.current
    by_path = {str(example.file): example.file.stem for example in pictures}
    if result.request.path not in by_path or result.request.weights in session.own:
        return None
    return PageState(
        example=by_path[result.request.path],
        weights=result.request.weights,
        attention=result.request.attention,
        target=result.target.label if target else "",
        contrast=result.contrast.label if result.contrast else "",
        **_changed(view),
        opacity="" if abs(opacity - OPACITY) < 0.005 else f"{opacity:.2f}",
        tab=tab,
        lang=session.lang,
    )


def address(session: Session, view: View) -> str:
    """The last result and its view as a query, without tab and opacity, which the browser adds.

    A visitor's own picture or network is left out: the browser has the picture, and a network is
    gone with its session.
    """
    result = session.current
    request, picture = result.request, ""
    if example_classes(request.path):
        picture = Path(request.path or "").stem
    own = request.weights in session.own
    state = PageState(
        example=picture,
        weights="" if own else request.weights,
        attention="" if own else request.attention,
        target=result.target.label if request.target else "",
        contrast=result.contrast.label if result.contrast else "",
        **_changed(view),
    )
    return query(state)


def _changed(view: View) -> dict[str, str]:
    """The fields of a view that are not as on a newly opened page."""
    opening = {name: known[0] for name, known in view_options().items()}
    return {name: value for name, value in view._asdict().items() if value != opening.get(name)}


def component_updates(session: Session, pictures: Sequence[Example], state: PageState) -> list[Any]:
    """The updates of the page's components, in the order of `COMPONENTS`; no network runs.

    What the state leaves open becomes as on a page that was just opened; without an example the
    picture stays. Raises WeightsError where there is no such network.
    """
    weights = state.weights or next(iter(session.networks.choices))
    attention = state.attention or session.networks.types(weights, session.own)[0]
    explainer = session.networks.get(weights, attention, session.own)
    target, contrast = (
        str(explainer.index(label)) if label else "" for label in (state.target, state.contrast)
    )
    files = {example.file.stem: str(example.file) for example in pictures}
    labels, lang = explainer.labels, session.lang
    return [
        files[state.example] if state.example else gr.skip(),
        gr.update(value=weights),
        gr.update(choices=attention_choices(session, weights), value=attention),
        gr.update(choices=class_choices(labels, lang), value=target),
        gr.update(choices=class_choices(labels, lang, "nothing"), value=contrast),
        gr.update(selected=state.tab) if state.tab else gr.skip(),
        gr.update(
            choices=stage_choices(explainer.model.stages, lang),
            value=state.stage or first_stage(explainer),
        ),
        *(getattr(state, name) or known[0] for name, known in view_options().items()),
        float(state.opacity or OPACITY),
    ]

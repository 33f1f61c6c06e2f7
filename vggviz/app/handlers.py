"""What the events of the head, the settings and the first tab do: functions of a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from vggviz.app.choices import (
    attention_choices,
    class_choices,
    first_stage,
    network_choices,
    stage_choices,
)
from vggviz.app.errors import user_error
from vggviz.app.inputs import UploadedPicture
from vggviz.app.link import address
from vggviz.app.own import MOST_NETWORKS, OwnNetwork
from vggviz.app.parts.answer import about, answer
from vggviz.app.parts.channels import channel, channels
from vggviz.app.parts.maps import maps
from vggviz.app.parts.strip import strip
from vggviz.app.result import Maps, Request, Result
from vggviz.app.session import Session, handler
from vggviz.app.view import View, check_options
from vggviz.explainer import Report
from vggviz.weights import bundled_results

Drawing = tuple[str, View]
"""The language and the view in which the parts of the first tab were drawn."""

MissingMap = tuple[Request, str, str]
"""A map that the view needs and that has yet to be computed: its request, stage and method."""


@dataclass(frozen=True, slots=True, eq=False)
class ComputedMaps:
    """Maps of one more CAM method, and the request that they are for.

    Each is another value of a state: the same maps may be merged again into a later result.
    """

    request: Request
    maps: Maps


class ExploreContent(NamedTuple):
    """The parts of the first tab as HTML, and the radio of the stages."""

    answer: str
    about: str
    strip: str
    maps: str
    channels: str
    channel: str
    stage: Any


@handler
def explain(
    session: Session,
    picture: UploadedPicture | None,
    weights: str,
    attention: str,
    target: str,
    contrast: str,
    *view: str,
) -> tuple[Any, ...]:
    """Explain a picture. Returns the details as JSON, the result, the map that is still missing,
    and the parts of the first tab (`ExploreContent`).

    `target` and `contrast` are as in a `Request`, `view` the fields of a `View`. Without a picture
    that of the last result is explained: the browser removes the picture before it turns on the
    camera, and setting it again would turn the camera off. A stage that this network does not have
    becomes its `first_stage`. Raises gr.Error.
    """
    if picture is None:
        path = session.current.request.path
        if path is None:
            raise user_error(session.text("trouble.picture"))
        picture = UploadedPicture(Path(path), path)
    stage, *options = view or ("",)
    check_options(session, options)  # before the network runs
    request = Request(picture.path, weights, attention, target, contrast)
    result = session.explain(picture, request)
    session = replace(session, result=result)
    if stage not in result.row:
        stage = first_stage(session.explainer(), stage)
    current = View(stage, *options)
    return (result.details, result, missing_map(result, current), *draw(session, *current))


@handler
def explain_chosen(
    session: Session,
    picture: UploadedPicture | None,
    weights: str,
    attention: str,
    target: str,
    contrast: str,
    *view: str,
) -> tuple[Any, ...]:
    """What `explain` returns, and the `Drawing`: for a page on which more may be chosen meanwhile.

    No change where these weights have no such attention type: they were chosen a moment ago, and
    their types have yet to come (`choose_network`). The stage that is chosen stays, unless it
    became another one. Raises gr.Error.
    """
    if attention not in session.networks.types(weights, session.own):
        return (gr.skip(),) * (4 + len(ExploreContent._fields))
    *found, stage = explain(session, picture, weights, attention, target, contrast, *view)
    drawing = (session.lang, View(stage["value"], *view[1:]))
    if stage["value"] == view[0]:
        stage = {name: value for name, value in stage.items() if name != "value"}
    return (*found, stage, drawing)


@handler
def redraw_stale(session: Session, drawing: Drawing | None, *view: str) -> tuple[Any, ...]:
    """The missing map and the parts of the first tab where another language or view was chosen
    while they were computed and drawn; else no change."""
    stage, *options = view
    if stage not in session.current.row:
        stage = first_stage(session.explainer(), stage)
    current = View(stage, *options)
    if drawing == (session.lang, current):
        return (gr.skip(),) * (1 + len(ExploreContent._fields))
    return missing_map(session.current, current), *draw(session, *current)


def missing_map(result: Result, view: View) -> MissingMap | None:
    """The map that must be computed before this view can be drawn, None where all are there."""
    lacks = result.lacks(view.stage, view.method)
    return (result.request, view.stage, view.method) if lacks else None


@handler
def add_method(
    session: Session,
    missing: MissingMap | None,
    progress: Report = lambda done, total: None,
) -> Any:
    """Compute the missing map. Returns `ComputedMaps`, for `merge_maps`; no change where another
    result came meanwhile. Raises gr.Error."""
    if missing is None or session.result is None or session.result.request != missing[0]:
        return gr.skip()
    request, stage, method = missing
    return ComputedMaps(request, session.maps(method, stage, progress))


@handler
def merge_maps(session: Session, computed: ComputedMaps | None) -> Any:
    """The last result with the computed maps; no change where they are for another request: another
    result came while they were computed."""
    if computed is None or session.current.request != computed.request:
        return gr.skip()
    return session.current.with_maps(computed.maps)


@handler
def reset_method(session: Session, *view: str) -> tuple[str, str, None]:
    """Go back to Grad-CAM, which every result has, after a method failed, so that choosing the
    method again computes it again. Returns the method, the maps as HTML, and no missing map."""
    current = View(*view)
    if missing_map(session.current, current) is not None:
        current = current._replace(method="gradcam")
    return current.method, _maps(session, current), None


@handler
def draw_maps(session: Session, *view: str) -> tuple[str, MissingMap | None]:
    """The maps of the last result in another view as HTML, and the map that is missing for it."""
    current = View.parse(session, view)
    return _maps(session, current), missing_map(session.current, current)


def _maps(session: Session, view: View) -> str:
    return maps(session.lang, session.current, view, address(session, view))


@handler
def draw(session: Session, *view: str) -> ExploreContent:
    """The parts of the first tab for the last result."""
    current, lang, result = View.parse(session, view), session.lang, session.current
    results = bundled_results(result.request.weights, result.attention)
    return ExploreContent(
        answer(lang, result),
        about(lang, result.attention, results),
        strip(lang, result, current),
        _maps(session, current),
        channels(lang, result, current.stage),
        channel(lang, result, current.stage, 1, current.colours),
        gr.update(choices=stage_choices(result.row, lang), value=current.stage),
    )


@handler
def choose_network(
    session: Session, weights: str, attention: str, target: str, contrast: str
) -> tuple[Any, Any, Any]:
    """The updates of the other three dropdowns after other weights were chosen: the attention types
    of these weights, the same one chosen if they have it, and their classes.

    The classes stay chosen where the weights are those of the last result: a dropdown's event comes
    without a change, too.
    """
    types = session.networks.types(weights, session.own)
    chosen = attention if attention in types else types[0]
    labels = session.networks.labels(weights, chosen, session.own)
    same = session.result is not None and session.result.request.weights == weights
    known = set(map(str, range(len(labels)))) if same else set()
    target, contrast = (one if one in known else "" for one in (target, contrast))
    return (
        gr.update(choices=attention_choices(session, weights), value=chosen),
        gr.update(choices=class_choices(labels, session.lang), value=target),
        gr.update(choices=class_choices(labels, session.lang, "nothing"), value=contrast),
    )


@handler
def translate_choices(session: Session, weights: str, attention: str) -> tuple[Any, ...]:
    """The choices of the four dropdowns in the session's language; what is chosen stays."""
    labels = session.networks.labels(weights, attention, session.own)
    return (
        gr.update(choices=network_choices(session)),
        gr.update(choices=attention_choices(session, weights)),
        gr.update(choices=class_choices(labels, session.lang)),
        gr.update(choices=class_choices(labels, session.lang, "nothing")),
    )


@handler
def restore(session: Session) -> tuple[Any, ...]:
    """The picture of the last good result, and the updates of the four dropdowns: what they offer
    for it, and what was chosen."""
    path, weights, attention, *_ = request = session.current.request
    offered = translate_choices(session, weights, attention)
    chosen = (
        {**update, "value": value} for update, value in zip(offered, request[1:], strict=True)
    )
    return path, *chosen


@handler
def open_own(
    session: Session, file: Path | None, picture: UploadedPicture | None, *view: str
) -> tuple[Any, ...]:
    """Add an uploaded weights file to the networks of this session, choose it, and explain the
    picture with it.

    Returns the session's own networks, the updates of the four dropdowns, and what `explain`
    returns. Raises gr.Error, and changes nothing.
    """
    if file is None:
        raise user_error(session.text("trouble.file"))
    network = _unique_name(OwnNetwork.admit(file, session.networks.find_fit), session)
    networks = {**session.own, network.fingerprint: network}
    own = dict([*networks.items()][-MOST_NETWORKS:])
    session = replace(session, own=own)
    explainer = session.networks.get(network.fingerprint, network.attention, own)
    explained: Sequence[Any] = [gr.skip()] * (3 + len(ExploreContent._fields))
    if picture is not None or session.result is not None:
        request = (network.fingerprint, network.attention, "", "")
        view = (first_stage(explainer, view[0]), *view[1:])
        explained = explain(session, picture, *request, *view)
    titles = network_choices(session)
    title = next(title for title, key in titles if key == network.fingerprint)
    gr.Info(escape(session.text("shell.opened", name=title)))
    return (
        own,
        gr.update(choices=titles, value=network.fingerprint),
        gr.update(choices=attention_choices(session, network.fingerprint), value=network.attention),
        gr.update(choices=class_choices(network.labels, session.lang), value=""),
        gr.update(choices=class_choices(network.labels, session.lang, "nothing"), value=""),
        *explained,
    )


def _unique_name(network: OwnNetwork, session: Session) -> OwnNetwork:
    """The network, with a number behind its name where another of the session has the same name."""
    taken = {other.name for key, other in session.own.items() if key != network.fingerprint}
    name, number = network.name, 2
    while name in taken:
        name, number = f"{network.name} ({number})", number + 1
    return replace(network, name=name)

"""What the events of the head, the left column and the first tab do: functions of a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from vggviz.app.own import MOST_NETWORKS, OwnNetwork
from vggviz.app.parts.answer import about, answer
from vggviz.app.parts.channels import channel, channels
from vggviz.app.parts.maps import maps
from vggviz.app.parts.strip import strip
from vggviz.app.result import Request, Result
from vggviz.app.session import Session, handler
from vggviz.app.view import View, check_options
from vggviz.explainer import Report
from vggviz.weights import bundled_results

MissingMap = tuple[Request, str, str]
"""A map that is wanted and has yet to be computed: of which request, stage and method."""


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
    """Explain a picture, and draw all: the details, the result, the map that is still missing, and
    the parts of the page (`ExploreContent`).

    `target` and `contrast` are as in a `Request`, `view` the fields of a `View`. Without a picture
    it is that of the last result: the browser takes the picture away before it turns on the camera,
    and putting it back would turn that off. A stage that this network does not have becomes the one
    to look at first. Raises gr.Error.
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
    if stage not in result.stages:
        stage = first_stage(session.explainer(), stage)
    current = View(stage, *options)
    return (result.details, result, missing_map(result, current), *draw(session, *current))


def missing_map(result: Result, view: View) -> MissingMap | None:
    """What must be computed before this view can be drawn, None where all is there."""
    lacks = result.lacks(view.stage, view.method)
    return (result.request, view.stage, view.method) if lacks else None


@handler
def add_method(
    session: Session,
    missing: MissingMap | None,
    *view: str,
    progress: Report = lambda done, total: None,
) -> tuple[Any, Any]:
    """Compute the missing map: the result with it, and the maps. Nothing where another result came
    meanwhile. Raises gr.Error."""
    if missing is None or session.result is None or session.result.request != missing[0]:
        return gr.skip(), gr.skip()
    _, stage, method = missing
    result = session.add_method(method, stage, progress)
    return result, maps(session.lang, result, View.checked(session, view))


@handler
def reset_method(session: Session, *view: str) -> tuple[str, str, None]:
    """After a method could not be computed: back to Grad-CAM, which is always there, so that who
    chooses the method again starts it again. The method, the maps, and nothing missing."""
    current = View(*view)
    if missing_map(session.current, current) is not None:
        current = current._replace(method="gradcam")
    return current.method, maps(session.lang, session.current, current), None


@handler
def draw_maps(session: Session, *view: str) -> tuple[str, MissingMap | None]:
    """The maps of the last result in another view, and which one is missing."""
    current = View.checked(session, view)
    return maps(session.lang, session.current, current), missing_map(session.current, current)


@handler
def draw(session: Session, *view: str) -> ExploreContent:
    """Everything that the first tab shows of the last result."""
    current, lang, result = View.checked(session, view), session.lang, session.current
    results = bundled_results(result.request.weights, result.attention)
    return ExploreContent(
        answer(lang, result),
        about(lang, result.attention, results),
        strip(lang, result, current.colours),
        maps(lang, result, current),
        channels(lang, result, current.stage),
        channel(lang, result, current.stage, 1, current.colours),
        gr.update(choices=stage_choices(result.names, lang), value=current.stage),
    )


@handler
def choose_network(
    session: Session, weights: str, attention: str, target: str, contrast: str
) -> tuple[Any, Any, Any]:
    """Other weights: their attention types, the same one if they have it, and their classes.

    Where they are those of the last result, which a dropdown can't tell, the classes stay.
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
def open_own(
    session: Session, file: Path | None, picture: UploadedPicture | None, *view: str
) -> tuple[Any, ...]:
    """An uploaded weights file becomes a choice of this session, and is chosen.

    What the session owns, the four dropdowns, and what `explain` gives of the picture with it.
    If anything is wrong, nothing changes. Raises gr.Error.
    """
    if file is None:
        raise user_error(session.text("trouble.file"))
    one = _unique_name(OwnNetwork.admit(file, session.networks.fitting), session)
    networks = {**session.own, one.fingerprint: one}
    own = dict([*networks.items()][-MOST_NETWORKS:])
    session = replace(session, own=own)
    explainer = session.networks.get(one.fingerprint, one.attention, own)
    explained: Sequence[Any] = [gr.skip()] * (3 + len(ExploreContent._fields))
    if picture is not None or session.result is not None:
        request = (one.fingerprint, one.attention, "", "")
        view = (first_stage(explainer, view[0]), *view[1:])
        explained = explain(session, picture, *request, *view)
    return (
        own,
        gr.update(choices=network_choices(session), value=one.fingerprint),
        gr.update(choices=attention_choices(session, one.fingerprint), value=one.attention),
        gr.update(choices=class_choices(one.labels, session.lang), value=""),
        gr.update(choices=class_choices(one.labels, session.lang, "nothing"), value=""),
        *explained,
    )


def _unique_name(one: OwnNetwork, session: Session) -> OwnNetwork:
    """With a number behind its name where another file of the session has the same."""
    taken = {other.name for key, other in session.own.items() if key != one.fingerprint}
    name, number = one.name, 2
    while name in taken:
        name, number = f"{one.name} ({number})", number + 1
    return replace(one, name=name)

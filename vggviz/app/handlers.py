"""What the page does: plain functions of one request."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from weakref import ref

import gradio as gr
import torch

from vggviz.app.choices import classes, start, types_of, weights_of
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.own import KEPT, Own
from vggviz.app.parts.answer import about, answer
from vggviz.app.parts.channels import channel, channels
from vggviz.app.parts.maps import View, maps
from vggviz.app.parts.strip import strip
from vggviz.app.pictures import Given, Question, Shown, refusal, still
from vggviz.app.stages import STAGES
from vggviz.cam import METHODS
from vggviz.explainer import Explainer, Report
from vggviz.explanation import Explanation
from vggviz.hooks.capture import bypass
from vggviz.images import Crop
from vggviz.locales import TEXTS, text
from vggviz.types import Error, Prediction
from vggviz.weights import bundled_results

log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """Maps that are asked for and not there yet: of which result, method and stage."""

    question: Question
    method: str
    stage: str


class Drawn(NamedTuple):
    """All parts of the first tab."""

    answer: str
    about: str
    strip: str
    maps: str
    channels: str
    channel: str


def explain(
    networks: Networks,
    picture: Given | None,
    weights: str,
    attention: str,
    target: str,
    contrast: str,
    *view: str,
    shown: Shown | None = None,
    own: Owned = NOTHING,
    lang: str = "en",
) -> tuple[Any, ...]:
    """Run the network once and show all: the details, what to keep, what is still wanted, and the
    parts of the page (`Drawn`).

    `target` and `contrast` are a class index, a label or a WordNet id; '' for the likeliest class,
    and for no contrast. `view` are the fields of `View`. `shown` is the last result: the network
    does not run where it, or one that is kept, answers the same question. `own` are the session's
    own networks. Raises gr.Error, a sentence for people.
    """
    picture = picture or still(shown)
    if picture is None:
        raise refusal(text(lang, "trouble.picture"))
    View.known(view, lang)  # before the network runs
    question = Question(picture.path, weights, attention, target, contrast)
    with boundary(lang):
        if shown is None or shown.question != question or picture.path is None:
            explainer = networks.get(weights, attention, own)
            shown = _answer(networks, explainer, picture, question, lang)
        return (shown.details, shown, wanted(shown, *view), *draw(shown, *view, lang=lang))


def _answer(
    networks: Networks, explainer: Explainer, picture: Given, question: Question, lang: str
) -> Shown:
    """The answer, kept or new. The same content gives the same answer to everyone."""
    targets = [known(explainer, question.target, lang)]
    if question.contrast:
        targets.append(known(explainer, question.contrast, lang))
    key = (ref(explainer), picture.digest, *targets)
    shown = networks.answers.get(key, lambda: _run(explainer, picture, question, targets))
    return replace(shown, question=question)


def _run(
    explainer: Explainer,
    picture: Given,
    question: Question,
    targets: Sequence[int | None],
) -> Shown:
    """One forward and one partial backward pass; then, with attention off, what lies above it."""
    model = explainer.model
    sources = {stage: model.input_path(stage) for stage in model.attention}
    image = picture.image
    explanations = explainer.explain_each(image, targets, watch=tuple(sources.values()))
    # Features are known by their stage from here on.
    explanations[0] = replace(
        explanations[0],
        features={stage: explanations[0].features[path] for stage, path in sources.items()},
    )
    return Shown.of(explanations, picture, question, _off(explainer, explanations[0]))


def _off(explainer: Explainer, explanation: Explanation) -> Prediction | None:
    """The prediction with every attention stage passing its input on, None where there is none."""
    model = explainer.model
    if not len(model.attention):
        return None
    lowest = next(stage for stage in model.stages if stage in model.attention)
    with torch.no_grad(), bypass(model, model.attention_paths()):
        logits = model(explanation.features[lowest][None], lowest)[0]
    return explainer.prediction(logits)


def wanted(shown: Shown, *view: str) -> Wanted | None:
    """What must be computed before this view can be drawn, None where all is there."""
    look = View.known(view)
    there = (look.stage, look.method, 0) in shown.maps
    return None if there else Wanted(shown.question, look.method, look.stage)


def more(
    networks: Networks,
    asked: Wanted | None,
    shown: Shown | None,
    *view: str,
    own: Owned = NOTHING,
    lang: str = "en",
    progress: Report = lambda done, total: None,
) -> tuple[Any, Any]:
    """One more CAM method for what is shown: at all stages, but one that takes many passes at the
    wanted one only. What to keep, and the maps. Raises gr.Error."""
    if asked is None or shown is None or shown.question != asked.question:
        return gr.skip(), gr.skip()
    with boundary(lang):
        explainer = networks.get(shown.question.weights, shown.attention, own)
        stages = (asked.stage,) if METHODS[asked.method].slow else STAGES
        targets = [shown.target.index, *([shown.contrast.index] if shown.contrast else [])]
        found: Sequence[Explanation] = ()
        check = networks.patience(lang)

        def report(done: int, total: int) -> None:
            check(done, total)
            progress(done, total)

        if METHODS[asked.method].needs != "attention" or _weighs_places(shown):
            found = networks.explanations.explain_crop(
                explainer,
                shown.crop,
                Crop(**shown.details["provenance"]["crop"]),
                targets,
                stages,
                (asked.method,),
                progress=report,
            )
        shown = shown.with_maps(found, stages, asked.method)
        return shown, maps(lang, shown, View.known(view, lang))


def give_up(shown: Shown, *view: str, lang: str = "en") -> tuple[str, str, None]:
    """The method, the maps, and nothing wanted, after a method could not be computed: back to
    Grad-CAM, which is always there, so that whoever chooses the other again asks for it again."""
    look = View(*view)
    if wanted(shown, *view) is not None:
        look = look._replace(method="gradcam")
    return look.method, maps(lang, shown, look), None


def _weighs_places(shown: Shown) -> bool:
    return any(place.attention is not None for place in shown.places.values())


def look(shown: Shown, *view: str, lang: str = "en") -> tuple[str, Wanted | None]:
    """The maps of a result, looked at in another way: no network runs."""
    return maps(lang, shown, View.known(view, lang)), wanted(shown, *view)


def draw(shown: Shown, *view: str, lang: str = "en") -> Drawn:
    """Everything that the first tab shows of a result: no network runs."""
    view_ = View.known(view, lang)
    found = bundled_results(shown.question.weights, shown.attention)
    return Drawn(
        answer(lang, shown),
        about(lang, shown.attention, found),
        strip(lang, shown, view_.colours),
        maps(lang, shown, view_),
        channels(lang, shown, view_.stage),
        channel(lang, shown, view_.stage, 1, view_.colours),
    )


def choose(
    networks: Networks,
    weights: str,
    attention: str,
    target: str,
    contrast: str,
    shown: Shown | None = None,
    own: Owned = NOTHING,
    lang: str = "en",
) -> tuple[Any, Any, Any]:
    """Other weights: their attention types, the same one if they have it, and their classes.

    Where they are those of the last result, which a dropdown can't tell, the classes stay.
    """
    with boundary(lang):
        types = networks.types(weights, own)
        chosen = attention if attention in types else types[0]
        labels = networks.labels(weights, chosen, own)
    kept = labels if shown is not None and shown.question.weights == weights else ()
    target, contrast = (
        one if one in map(str, range(len(kept))) else "" for one in (target, contrast)
    )
    return (
        gr.update(choices=types_of(networks, weights, own, lang), value=chosen),
        gr.update(choices=classes(labels, lang), value=target),
        gr.update(choices=classes(labels, lang, "nothing"), value=contrast),
    )


def spoken(
    networks: Networks, weights: str, attention: str, own: Owned, lang: str
) -> tuple[Any, Any, Any, Any]:
    """The choices of the four dropdowns in this language; what is chosen stays."""
    with boundary(lang):
        labels = networks.labels(weights, attention, own)
    return (
        gr.update(choices=weights_of(networks, own, lang)),
        gr.update(choices=types_of(networks, weights, own, lang)),
        gr.update(choices=classes(labels, lang)),
        gr.update(choices=classes(labels, lang, "nothing")),
    )


def open_own(
    networks: Networks,
    file: Path | None,
    picture: Given | None,
    *view: str,
    shown: Shown | None = None,
    own: Owned = NOTHING,
    lang: str = "en",
) -> tuple[Any, ...]:
    """A weights file that came in is a choice of this session from now on, and chosen.

    What the session owns, the five choices, and what `explain` tells of the picture with it. If
    anything is wrong, nothing changes. Raises gr.Error, a sentence for people.
    """
    if file is None:
        raise refusal(text(lang, "trouble.file"))
    with boundary(lang):
        one = _named(Own.admit(file), own)
        own = dict([*{**own, one.fingerprint: one}.items()][-KEPT:])
        explainer = networks.get(one.fingerprint, one.attention, own)
    look = View.known(view, lang)
    view = look._replace(stage=start(explainer, look.stage))
    told: Sequence[Any] = [gr.skip()] * (3 + len(Drawn._fields))
    picture = picture or still(shown)
    if picture is not None:
        key = one.fingerprint
        told = explain(networks, picture, key, one.attention, "", "", *view, own=own, lang=lang)
    return (
        own,
        gr.update(choices=weights_of(networks, own, lang), value=one.fingerprint),
        gr.update(choices=types_of(networks, one.fingerprint, own, lang), value=one.attention),
        gr.update(choices=classes(one.labels, lang), value=""),
        gr.update(choices=classes(one.labels, lang, "nothing"), value=""),
        view.stage,
        *told,
    )


def _named(one: Own, own: Owned) -> Own:
    """With a number behind its name where another file has the same."""
    taken = {other.name for key, other in own.items() if key != one.fingerprint}
    name, number = one.name, 2
    while name in taken:
        name, number = f"{one.name} ({number})", number + 1
    return replace(one, name=name)


def known(explainer: Explainer, target: str, lang: str = "en") -> int | None:
    """The index of the class that was asked for, None for the likeliest; raises gr.Error.

    Digits are an index, as the dropdowns send it, whatever the labels are.
    """
    if not target:
        return None
    try:
        return explainer.index(int(target) if re.fullmatch(r"\d{1,18}", target) else target)
    except ValueError as error:
        raise refusal(sentence(error, lang)) from error


@contextmanager
def boundary(lang: str = "en") -> Generator[None, None, None]:
    """Show an `Error` in this language as a toast (gr.Error); log any other, and say only that
    something went wrong."""
    try:
        yield
    except gr.Error:
        raise
    except Error as error:
        raise refusal(sentence(error, lang)) from error
    except Exception as error:  # the one broad except of the house: a page must not go blank
        log.exception("an explanation failed")
        raise refusal(text(lang, "trouble.server")) from error


def sentence(error: Exception, lang: str = "en") -> str:
    """The message of an error as a sentence: with a full stop, and a capital where it does not
    begin with a value, such as the name of a file."""
    message = error.message(lang) if isinstance(error, Error) else str(error)
    code = error.code if isinstance(error, Error) else ""
    if not TEXTS["en"].get(f"error.{code}", "").startswith("{"):
        message = f"{message[:1].upper()}{message[1:]}"
    return message if message.endswith((".", "?", "。", "？")) else f"{message}."

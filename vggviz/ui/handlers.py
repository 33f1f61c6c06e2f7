"""What the page does: plain functions of one request."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from vggviz import zoo
from vggviz.explain import Explainer
from vggviz.ui import markup
from vggviz.ui.networks import NOTHING, Networks, Owned
from vggviz.ui.own import Own
from vggviz.ui.pictures import Given, Question, Shown, refusal

log = logging.getLogger(__name__)

_WEIGHTS = {
    "tiny50": "tiny50: trained, 50 classes",
    "random": "random: untrained, full size",
}


def choose(
    networks: Networks,
    weights: str,
    attention: str,
    target: str,
    shown: Shown | None = None,
    own: Owned = NOTHING,
) -> tuple[Any, Any]:
    """Other weights: their attention types, the same one if they have it, and their classes.

    Where they are those of the last result, which a dropdown can't tell, the class stays.
    """
    with boundary():
        types = networks.types(weights, own)
        chosen = attention if attention in types else types[0]
        labels = networks.labels(weights, chosen, own)
    same = shown is not None and shown.question.weights == weights
    return (
        gr.update(choices=types_of(networks, weights, own), value=chosen),
        gr.update(choices=classes(labels), value=target if same else ""),
    )


def open_own(
    networks: Networks,
    file: Path | None,
    picture: Given | None,
    site: str,
    opacity: float,
    own: Owned = NOTHING,
) -> tuple[Any, ...]:
    """A weights file that came in is a choice of this session from now on, and chosen.

    What the session owns, the four choices, and what `explain` tells of the picture with it. If
    anything is wrong, nothing changes. Raises gr.Error, a sentence for people.
    """
    if file is None:
        raise refusal("The file did not arrive: please choose it again.")
    with boundary(file.name):
        one = _named(Own.admit(file), own)
        own = {**own, one.fingerprint: one}
        explainer = networks.get(one.fingerprint, one.attention, own)
    site = start(explainer, site)
    told: Sequence[Any] = [gr.skip()] * 6
    if picture is not None:
        weights, attention = one.fingerprint, one.attention
        told = explain(networks, picture, weights, attention, "", site, opacity, own=own)
    return (
        own,
        gr.update(choices=weights_of(networks, own), value=one.fingerprint),
        gr.update(choices=types_of(networks, one.fingerprint, own), value=one.attention),
        gr.update(choices=classes(one.labels), value=""),
        site,
        *told,
    )


def _named(one: Own, own: Owned) -> Own:
    """With a number behind its name where another file has the same."""
    taken = {other.name for key, other in own.items() if key != one.fingerprint}
    name, number = one.name, 2
    while name in taken:
        name, number = f"{one.name} ({number})", number + 1
    return replace(one, name=name)


def explain(
    networks: Networks,
    picture: Given | None,
    weights: str,
    attention: str,
    target: str,
    site: str,
    opacity: float,
    shown: Shown | None = None,
    own: Owned = NOTHING,
) -> tuple[Mapping[str, Any], Shown, str, str, str, str]:
    """Run the network once and show all: the details, what to keep, and the parts of the page.

    `target` is a class index, a label or a WordNet id, '' for the likeliest class. `shown` is the
    last result: the network does not run where it answers the same question. `own` are the
    session's own networks. Raises gr.Error, a sentence for people.
    """
    if picture is None:
        raise refusal("Choose a picture first, or click one of the examples.")
    question = Question(picture.path, weights, attention, target)
    with boundary():
        if shown is None or shown.question != question or picture.path is None:
            explainer = networks.get(weights, attention, own)
            explanation = explainer.explain(picture.image, target=known(explainer, target))
            if not explanation.prediction.logits.isfinite().all():
                raise zoo.WeightsError("the network's answer is no number: its weights are broken")
            shown = Shown.of(explanation, picture, question)
        return (
            shown.details,
            shown,
            markup.answer(shown),
            *view(shown, site, opacity),
            markup.about(attention, zoo.measured(weights, attention)),
        )


def view(shown: Shown, site: str, opacity: float) -> tuple[str, str]:
    """The maps and the channel weights of a result at another site or opacity: no network runs."""
    return markup.maps(shown, site, opacity), markup.channels(shown, site)


def back(shown: Shown) -> str | None:
    """The picture of the last good result, for when another one could not be used."""
    return shown.question.path


def known(explainer: Explainer, target: str) -> int | None:
    """The index of the class that was asked for, None for the likeliest; raises gr.Error."""
    if not target:
        return None
    try:
        return explainer.index(target)
    except ValueError as error:
        raise refusal(_sentence(error)) from error


def start(explainer: Explainer, site: str = "block4") -> str:
    """The site to look at first: this one, or block 4, or the last, whichever has attention."""
    sites = tuple(explainer.model.attention)
    return next((one for one in (site, "block4", *sites[-1:]) if one in sites or not sites), site)


def weights_of(networks: Networks, own: Owned = NOTHING) -> list[tuple[str, str]]:
    """The networks as a dropdown's choices, a session's own ones last."""
    known = [(_WEIGHTS.get(key, key), key) for key in networks.choices]
    return [*known, *((_called(one), key) for key, one in own.items())]


def _called(one: Own) -> str:
    untrained = "untrained, " if one.trained == "nothing" else ""
    count = len(one.labels)
    return f"{one.name}: {untrained}{count} {'class' if count == 1 else 'classes'}"


def types_of(networks: Networks, weights: str, own: Owned = NOTHING) -> list[tuple[str, str]]:
    """The attention types of these weights as a dropdown's choices."""
    return [(markup.ABOUT[key][0], key) for key in networks.types(weights, own)]


def classes(labels: Sequence[str]) -> list[tuple[str, str]]:
    """The classes as a dropdown's choices, by index, since two may have the same label."""
    order = sorted(range(len(labels)), key=lambda index: labels[index].lower())
    return [("What the network says", ""), *((labels[index], str(index)) for index in order)]


@contextmanager
def boundary(name: str = "") -> Generator[None, None, None]:
    """Where errors become a toast: what people can mend as it is said, all else logged.

    `name` is that of a file, which no sentence spells with another first letter.
    """
    try:
        yield
    except gr.Error:
        raise
    except zoo.WeightsError as error:
        raise refusal(_sentence(error, name)) from error
    except Exception as error:  # the one broad except of the house: a page must not go blank
        log.exception("an explanation failed")
        sentence = "Something went wrong on the server. Your last result is still here."
        raise refusal(sentence) from error


def _sentence(error: Exception, name: str = "") -> str:
    text = str(error)
    return f"{text}." if name and text.startswith(name) else f"{text[:1].upper()}{text[1:]}."

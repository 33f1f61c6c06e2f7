"""What the page does: plain functions of one request, and the networks that all users share."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import gradio as gr

from vggviz import zoo
from vggviz.attention import ATTENTION
from vggviz.explain import Explainer
from vggviz.ui import markup
from vggviz.ui.pictures import Given, Question, Shown, refusal

log = logging.getLogger(__name__)


class Networks:
    """The networks of one page: loaded when first asked for, then shared by all its users.

    `choices` are the attention types by weights, the default first. At most `room` parameters
    stay loaded beside the latest network's; the least recently used go first. Safe to share
    between threads.
    """

    def __init__(
        self,
        choices: Mapping[str, Sequence[str]],
        load: Callable[[str, str], Explainer] = Explainer.load,
        room: int = 150_000_000,
    ) -> None:
        self.choices = {weights: tuple(types) for weights, types in choices.items()}
        self._load = load
        self._room = room
        self._loaded: OrderedDict[tuple[str, str], Explainer] = OrderedDict()
        self._lock = Lock()
        self._loading = {(w, a): Lock() for w, types in self.choices.items() for a in types}

    @classmethod
    def bundled(cls) -> Networks:
        """The trained networks that come along, and an untrained one of each attention type."""
        types = ("cbam", *(key for key in ("none", *ATTENTION) if key != "cbam"))
        trained = [key for key in types if key in zoo.bundled()]
        return cls({**({"tiny50": trained} if trained else {}), "random": types})

    def get(self, weights: str, attention: str) -> Explainer:
        """The network; who asks for one that is being loaded, waits. Raises WeightsError."""
        key = (weights, attention)
        if key not in self._loading:
            raise zoo.WeightsError(f"there is no network {weights!r} with attention {attention!r}")
        with self._loading[key]:
            with self._lock:
                found = self._loaded.get(key)
            if found is None:
                found = self._load(weights, attention)
            with self._lock:
                self._loaded[key] = found
                self._loaded.move_to_end(key)
                self._make_room()
        return found

    def _make_room(self) -> None:
        _latest, *older = reversed(self._loaded.items())
        size = 0
        for key, explainer in older:
            size += sum(parameter.numel() for parameter in explainer.model.parameters())
            if size > self._room:
                del self._loaded[key]


def choose(
    networks: Networks, weights: str, attention: str, shown: Shown | None = None
) -> tuple[Any, Any]:
    """Other weights: their attention types, the same one if they have it, and their classes."""
    if shown is not None and shown.question.weights == weights:
        return gr.skip(), gr.skip()
    types = networks.choices[weights]
    chosen = attention if attention in types else types[0]
    with boundary():
        labels = networks.get(weights, chosen).labels
    return (
        gr.update(choices=types_of(networks, weights), value=chosen),
        gr.update(choices=classes(labels), value=""),
    )


def explain(
    networks: Networks,
    picture: Given | None,
    weights: str,
    attention: str,
    target: str,
    site: str,
    opacity: float,
    shown: Shown | None = None,
) -> tuple[Mapping[str, Any], Shown, str, str, str, str]:
    """Run the network once and show all: the details, what to keep, and the parts of the page.

    `target` is a class index, a label or a WordNet id, '' for the likeliest class. `shown` is the
    last result: the network does not run where it answers the same question. Raises gr.Error, a
    sentence for people.
    """
    if picture is None:
        raise refusal("Choose a picture first, or click one of the examples.")
    question = Question(picture.path, weights, attention, target)
    with boundary():
        if shown is None or shown.question != question or picture.path is None:
            explainer = networks.get(weights, attention)
            explanation = explainer.explain(picture.image, target=known(explainer, target))
            shown = Shown.of(explanation, picture, question)
        return (
            shown.details,
            shown,
            markup.answer(shown),
            *view(shown, site, opacity),
            markup.about(attention),
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


def types_of(networks: Networks, weights: str) -> list[tuple[str, str]]:
    """The attention types of these weights as a dropdown's choices."""
    return [(markup.ABOUT[key][0], key) for key in networks.choices[weights]]


def classes(labels: Sequence[str]) -> list[tuple[str, str]]:
    """The classes as a dropdown's choices, by index, since two may have the same label."""
    order = sorted(range(len(labels)), key=lambda index: labels[index].lower())
    return [("What the network says", ""), *((labels[index], str(index)) for index in order)]


@contextmanager
def boundary() -> Generator[None, None, None]:
    """Where errors become a toast: what people can mend as it is said, all else logged."""
    try:
        yield
    except gr.Error:
        raise
    except zoo.WeightsError as error:
        raise refusal(_sentence(error)) from error
    except Exception as error:  # the one broad except of the house: a page must not go blank
        log.exception("an explanation failed")
        sentence = "Something went wrong on the server. Your last result is still here."
        raise refusal(sentence) from error


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."

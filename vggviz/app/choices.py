"""The choices of the page's dropdowns and radios: networks, attention types, classes, stages."""

from __future__ import annotations

from collections.abc import Sequence

from vggviz.app.markup import attention_title, stage_titles
from vggviz.app.own import OwnNetwork
from vggviz.app.session import Session
from vggviz.explainer import Explainer
from vggviz.locales import class_name, text
from vggviz.weights import STOCK, WEIGHTS, bundled_types

__all__ = [
    "Choices",
    "attention_choices",
    "class_choices",
    "first_stage",
    "network_choices",
    "stage_choices",
]

Choices = list[tuple[str, str]]


def first_stage(explainer: Explainer, stage: str = "") -> str:
    """The stage to show first: the first of `stage`, the last but one (a VGG's block 4, where maps
    are most accurate) and the last with attention that has attention; in a network without
    attention, the first of them that is a stage.
    """
    stages, with_attention = explainer.model.stages, tuple(explainer.model.attention)
    usable = [one for one in stages if one in with_attention] or list(stages)
    return next(one for one in (stage, *stages[-2:-1], usable[-1]) if one in usable)


def network_choices(session: Session) -> Choices:
    """The networks of the page, then those of the session."""
    shared = [(_network_title(session, key), key) for key in session.networks.choices]
    return [*shared, *((_own_title(own, session.lang), key) for key, own in session.own.items())]


def _network_title(session: Session, key: str) -> str:
    if key in session.networks.unmeasured:
        return session.text("explore.network.unmeasured", name=key)
    if key in STOCK:
        kind = "taught" if bundled_types(key) else "imagenet"
        return session.text(f"explore.network.{kind}", name=key)
    return session.text(f"explore.network.{key}") if key in WEIGHTS else key


def _own_title(network: OwnNetwork, lang: str) -> str:
    if network.unmeasured:
        return text(lang, "explore.network.unmeasured", name=network.name)
    count = len(network.labels)
    kind = "own_untrained" if network.trained == "nothing" else "own_one" if count == 1 else "own"
    return text(lang, f"explore.network.{kind}", name=network.name, count=count)


def attention_choices(session: Session, weights: str) -> Choices:
    """The attention types of these weights; where some come taught, the others say that they are
    untrained."""
    types = session.networks.types(weights, session.own)
    taught = bundled_types(weights) if weights in STOCK else ()
    choices: Choices = []
    for key in types:
        title = attention_title(session.lang, key)
        if taught and key not in ("none", *taught):
            title = session.text("explore.type_untrained", title=title)
        choices.append((title, key))
    return choices


def class_choices(labels: Sequence[str], lang: str = "en", none: str = "predicted") -> Choices:
    """The classes by index, since two may have the same label, in alphabetical order; before them
    '', with the text `shell.<none>`."""
    names = [class_name(lang, label) for label in labels]
    order = sorted(range(len(names)), key=lambda index: names[index].lower())
    first = (text(lang, f"shell.{none}"), "")
    return [first, *((names[index], str(index)) for index in order)]


def stage_choices(stages: Sequence[str], lang: str = "en") -> Choices:
    """The stages of a network, by name."""
    return [(title, name) for name, title in stage_titles(lang, stages).items()]

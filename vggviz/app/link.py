"""What the page was asked to show, as the query of a link, and back to what its parts hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode

import gradio as gr

from vggviz.app import choices
from vggviz.app.examples import Example
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.parts.maps import View, view_options
from vggviz.app.pictures import Shown
from vggviz.app.shell import OPACITY, Shell
from vggviz.app.stages import STAGES
from vggviz.locales import LANGUAGES
from vggviz.weights import WEIGHTS

__all__ = ["PARTS", "Asked", "asked", "parts", "query", "read", "settings"]

PARTS = (
    *("picture", "weights", "attention", "target", "contrast", "tabs", "stage"),
    *(*View._fields[1:], "opacity"),
)
"""The parts of the page that `settings` sets, in order."""


class Asked(NamedTuple):
    """A state of the page, each part '' where it is as the page opens: an example by its file's
    stem, weights and attention by their keys, a stage, the labels of two classes, the rest of a
    `View` and its opacity, a tab and a language by key."""

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
    opacity: str = ""
    tab: str = ""
    lang: str = ""


def parts(shell: Shell) -> list[Any]:
    """The components that `settings` sets."""
    return [shell.view[name] if name in shell.view else getattr(shell, name) for name in PARTS]


def query(asked: Asked) -> str:
    """`asked` as a query, without the question mark."""
    return urlencode({name: value for name, value in asked._asdict().items() if value})


def read(
    given: Mapping[str, str],
    networks: Networks,
    pictures: Sequence[Example],
    tabs: Sequence[str],
) -> tuple[Asked, tuple[str, ...]]:
    """What a query asks for, and the names of the parts that were ignored, since there is no such.

    Nothing in a query is trusted: a network is shared and bundled, an example comes along, and a
    class is one of the network's own. What other names stand in the query is not ours to judge.
    """
    if "site" in given:  # links made before version 0.2
        given = {"stage": given["site"], **given}
    wanted = {name: given.get(name, "") for name in Asked._fields}
    offered: dict[str, Sequence[str]] = {
        "example": [example.file.stem for example in pictures],
        "weights": tuple(networks.choices),
        "stage": STAGES,
        **view_options(),
        "tab": tabs,
        "lang": tuple(LANGUAGES),
    }
    kept = {name: value for name, value in wanted.items() if value in offered.get(name, ())}
    weights = kept.get("weights") or next(iter(networks.choices))
    types = networks.types(weights)
    if wanted["attention"] in types:
        kept["attention"] = wanted["attention"]
    for name in ("target", "contrast"):
        if wanted[name]:
            explainer = networks.get(weights, kept.get("attention") or types[0])
            with suppress(ValueError):  # no such class
                kept[name] = explainer.labels[explainer.index(wanted[name])]
    with suppress(ValueError):  # no number
        if 0 <= float(wanted["opacity"]) <= 1:
            kept["opacity"] = wanted["opacity"]
    return Asked(**kept), tuple(
        name for name, value in wanted.items() if value and name not in kept
    )


def asked(
    shown: Shown,
    view: View,
    tab: str,
    lang: str,
    pictures: Sequence[Example],
    target: str = "",
    opacity: float = OPACITY,
) -> Asked | None:
    """What would bring back what is shown; None where the picture or the network is one's own.

    `target` is the class that was chosen, by its index as the dropdown has it, '' for none. Of
    the view it says what is not as the page opens.
    """
    opening = {name: known[0] for name, known in view_options().items()}
    looks = {name: value for name, value in view._asdict().items() if value != opening.get(name)}
    by_path = {str(example.file): example.file.stem for example in pictures}
    if shown.question.path not in by_path or shown.question.weights not in WEIGHTS:
        return None
    return Asked(
        example=by_path[shown.question.path],
        weights=shown.question.weights,
        attention=shown.question.attention,
        target=shown.target.label if target else "",
        contrast=shown.contrast.label if shown.contrast else "",
        **looks,
        opacity="" if abs(opacity - OPACITY) < 0.005 else f"{opacity:.2f}",
        tab=tab,
        lang=lang,
    )


def settings(
    networks: Networks,
    pictures: Sequence[Example],
    asked: Asked,
    own: Owned = NOTHING,
    lang: str = "en",
) -> list[Any]:
    """What the parts of the page become, in the order of `PARTS`; no network runs.

    With an example, everything that is not asked for goes to where the page opens; without one,
    the picture stays. Raises WeightsError where there is no such network.
    """
    weights = asked.weights or next(iter(networks.choices))
    types = networks.types(weights, own)
    attention = asked.attention or types[0]
    explainer = networks.get(weights, attention, own)
    labels = explainer.labels
    target, contrast = (
        str(explainer.index(label)) if label else "" for label in (asked.target, asked.contrast)
    )
    files = {example.file.stem: str(example.file) for example in pictures}
    return [
        files[asked.example] if asked.example else gr.skip(),
        gr.update(value=weights),
        gr.update(choices=choices.types_of(networks, weights, own, lang), value=attention),
        gr.update(choices=choices.classes(labels, lang), value=target),
        gr.update(choices=choices.classes(labels, lang, "nothing"), value=contrast),
        gr.update(selected=asked.tab) if asked.tab else gr.skip(),
        asked.stage or choices.start(explainer),
        *(getattr(asked, name) or known[0] for name, known in view_options().items()),
        float(asked.opacity or OPACITY),
    ]

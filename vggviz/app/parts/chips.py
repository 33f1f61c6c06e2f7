"""The classes to choose from at one click, and why Grad-CAM follows while attention stays."""

from __future__ import annotations

from html import escape

from vggviz.app.examples import example_classes
from vggviz.app.markup import percent
from vggviz.app.result import Result
from vggviz.locales import class_name, text
from vggviz.types import Ranked

__all__ = ["chip_classes", "chips"]


def chip_classes(result: Result) -> list[Ranked]:
    """The classes of the chips: both that an example shows where the network knows them, else the
    two most probable; and the class that was chosen where it is neither."""
    known = {one.label: one for one in reversed(result.prediction.ranked)}
    shows = example_classes(result.request.path, known)
    pair = [known[label] for label in shows if label in known]
    found = pair if len(pair) == 2 else list(result.top[:2])
    indices = [one.index for one in found]
    return found if result.target.index in indices else [*found, result.target]


def chips(lang: str, result: Result) -> str:
    """A button for each of `chip_classes`, the explained one pressed, one that opens the list of
    all, and a sentence on what a choice changes.

    The buttons are one stop of the keyboard; arrows move between them.
    """
    buttons = "".join(_chip(lang, one, result.target.index) for one in chip_classes(result))
    places = any(one.attention is not None for one in result.stages.values())
    why = "explore.chips_why" if places else "explore.chips_why_no_map"
    return (
        f'<div class="chips"><h2 id="chips-title">{escape(text(lang, "explore.chips"))}</h2>'
        f'<div role="group" aria-labelledby="chips-title">{buttons}'
        f'<button type="button" class="all" tabindex="-1">'
        f"{escape(text(lang, 'explore.chips_all'))}</button></div>"
        f'<p class="why">{escape(text(lang, why))}</p></div>'
    )


def _chip(lang: str, ranked: Ranked, target: int) -> str:
    pressed, name = ranked.index == target, class_name(lang, ranked.label)
    return (
        f'<button type="button" class="chip" data-class="{ranked.index}" '
        f'aria-pressed="{"true" if pressed else "false"}" tabindex="{0 if pressed else -1}" '
        f'title="{escape(text(lang, "explore.explain", label=name))}">'
        f"<b>{escape(name)}</b> <span>{percent(ranked.probability)}</span></button>"
    )

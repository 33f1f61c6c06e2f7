"""The prediction with and without attention, and the measurements of the attention type."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from vggviz.app.diagrams import diagram
from vggviz.app.examples import example_classes
from vggviz.app.markup import attention_explanation, badge, percent
from vggviz.app.parts.chips import chips
from vggviz.app.parts.truth import doubt, knows, truth
from vggviz.app.result import Result
from vggviz.locales import class_name, text

__all__ = ["PICK", "about", "answer"]

PICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-class]");
  if (button) trigger("select", {index: Number(button.dataset.class)});
});
"""
"""The answer's script: a click on a class is a `select` event with its index."""


def answer(lang: str, result: Result) -> str:
    """The predicted class, the chips of the classes to choose from, and the five most probable
    classes as buttons, each with two bars."""
    first = result.top[0]
    untrained = badge(text(lang, "explore.untrained")) if result.trained == "nothing" else ""
    rows = "".join(_row(lang, result, rank) for rank in range(len(result.top)))
    if result.off is None:
        key, legend = "explore.no_off", ""
    else:
        key = "explore.same" if result.off[0].index == first.index else "explore.otherwise"
        legend = "".join(
            f'<span class="{name}">{escape(text(lang, f"explore.{name}"))}</span>'
            for name in ("with", "without")
        )
    other = class_name(lang, result.off[0].label) if result.off else ""
    said = escape(class_name(lang, first.label))
    without = escape(text(lang, key, label=other))
    return (
        f"{_explained(result)}"
        f'<div class="verdict" role="status"><h2>{escape(text(lang, "explore.says"))}{untrained}'
        f'</h2><p><b title="{said}">{said}</b> '
        f"<span>{percent(first.probability)}</span></p>{truth(lang, result)}</div>"
        f"{doubt(lang, result)}{_notes(lang, result)}{chips(lang, result)}{knows(lang, result)}"
        f'<div class="further"><ol aria-label="{escape(text(lang, "explore.top"))}">{rows}</ol>'
        f'<p class="legend">{legend}</p><p class="off">{without}</p></div>'
    )


def _explained(result: Result) -> str:
    """An element that is not seen and says what is explained, for the lessons: example, target,
    contrast, and whether the target is the answer."""
    parts = {
        "example": Path(result.request.path or "").stem
        if example_classes(result.request.path)
        else "",
        "target": result.target.label,
        "contrast": result.contrast.label if result.contrast else "",
    }
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in parts.items())
    first = " data-first" if result.target.index == result.top[0].index else ""
    return f'<i class="explained" hidden{data}{first}></i>'


def _notes(lang: str, result: Result) -> str:
    """Notes on an animation, on how a picture of more than 8 bits was stretched, on a picture of a
    single colour, and on a network without names for its classes."""
    picture = result.details["provenance"]["picture"]
    notes = [text(lang, "explore.animated")] if result.animated else []
    if picture["stretched"]:
        low, high = (f"{value:g}" for value in picture["stretched"])
        notes.append(text(lang, "explore.stretched", low=low, high=high))
    if picture["one_colour"]:
        notes.append(text(lang, "explore.one_colour"))
    if all(one.label == f"class {one.index}" for one in result.top):
        notes.append(text(lang, "explore.no_names"))
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _row(lang: str, result: Result, rank: int) -> str:
    ranked = result.top[rank]
    name = class_name(lang, ranked.label)
    explained = ranked.index == result.target.index
    shares = {"with": ranked.probability}
    if result.off is not None:
        shares["without"] = result.off_shares[rank]
    bars = "".join(
        f'<span class="bar {name}"><i style="width:{100 * share:.2f}%"></i></span>'
        f'<span class="share {name}"><i>{escape(text(lang, f"explore.{name}"))}</i> '
        f"{percent(share)}</span>"
        for name, share in shares.items()
    )
    return (
        f'<li><button type="button" data-class="{ranked.index}" aria-pressed="'
        f'{"true" if explained else "false"}" '
        f'title="{escape(text(lang, "explore.explain", label=name))}">'
        f'<span class="name">{escape(name)}</span>{bars}</button></li>'
    )


def about(lang: str, attention: str, results: Mapping[str, Any] | None = None) -> str:
    """One sentence on an attention type, its measurements (see `bundled_results`), and its
    diagram."""
    measured = f" <span>{escape(_measured(lang, results))}</span>" if results else ""
    line = escape(attention_explanation(lang, attention))
    return f"<p>{line}{measured}</p>{diagram(lang, attention)}"


def _measured(lang: str, results: Mapping[str, Any]) -> str:
    """Top-1 accuracy, points lost with uniform weights, how often the map's peak hits the box."""
    facts = [text(lang, "attention.right", share=f"{100 * results['top1']['value']:.1f}")]
    if use := results["use"].get("uniform"):
        lost = 100 * use["points"]["value"]
        key = "attention.costs" if lost >= 1 else "attention.unused"
        facts.append(text(lang, key, points=f"{lost:.1f}".replace("-", "−")))
    pointing = results["pointing"] or {"best": {}}
    stage = pointing["best"].get("off_centre", {}).get("attention")
    for view in pointing.get("views", ()):
        if view["stage"] == stage and view["kind"] != "gradcam":
            hits = f"{100 * view['rates']['off_centre']['value']:.0f}"
            chance = f"{100 * pointing['subsets']['off_centre']['chance']:.0f}"
            facts.append(text(lang, "attention.finds", share=hits, chance=chance))
            break
    return text(lang, "attention.measured", facts=text(lang, "language.and").join(facts))

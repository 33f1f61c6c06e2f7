"""What the network says, with its attention and without, and what is known of the attention."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from vggviz.app.markup import badge, described, percent
from vggviz.app.pictures import Shown
from vggviz.locales import text

__all__ = ["PICK", "about", "answer"]

PICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-class]");
  if (button) trigger("select", {index: Number(button.dataset.class)});
});
"""
"""The answer's script: a click on a class is a `select` event with its index."""


def answer(lang: str, shown: Shown) -> str:
    """The verdict, and the five likeliest classes as buttons, each with two bars."""
    first = shown.top[0]
    untrained = badge(text(lang, "explore.untrained")) if shown.trained == "nothing" else ""
    rows = "".join(_row(lang, shown, place) for place in range(len(shown.top)))
    if shown.off is None:
        key, legend = "explore.no_off", ""
    else:
        key = "explore.same" if shown.off[0].index == first.index else "explore.otherwise"
        legend = "".join(
            f'<span class="{name}">{escape(text(lang, f"explore.{name}"))}</span>'
            for name in ("with", "without")
        )
    said = escape(text(lang, key, label=shown.off[0].label if shown.off else ""))
    return (
        f'<div class="verdict" role="status"><h2>{escape(text(lang, "explore.says"))}{untrained}'
        f'</h2><p><b title="{escape(first.label)}">{escape(first.label)}</b> '
        f"<span>{percent(first.probability)}</span></p></div>"
        f'<ol aria-label="{escape(text(lang, "explore.top"))}">{rows}</ol>'
        f'<p class="legend">{legend}</p><p class="off">{said}</p>{_picture(lang, shown)}'
    )


def _picture(lang: str, shown: Shown) -> str:
    """What was done to a deep picture, and that one of a single colour shows nothing."""
    picture = shown.details["provenance"]["picture"]
    notes = []
    if picture["stretched"]:
        low, high = (f"{value:g}" for value in picture["stretched"])
        notes.append(text(lang, "explore.stretched", low=low, high=high))
    if picture["one_colour"]:
        notes.append(text(lang, "explore.one_colour"))
    return "".join(f'<p class="off">{escape(note)}</p>' for note in notes)


def _row(lang: str, shown: Shown, place: int) -> str:
    ranked = shown.top[place]
    explained = ranked.index == shown.target.index
    shares = {"with": ranked.probability}
    if shown.off is not None:
        shares["without"] = shown.off_shares[place]
    bars = "".join(
        f'<span class="bar {name}"><i style="width:{100 * share:.2f}%"></i></span>'
        f'<span class="share {name}"><i>{escape(text(lang, f"explore.{name}"))}</i> '
        f"{percent(share)}</span>"
        for name, share in shares.items()
    )
    return (
        f'<li><button type="button" data-class="{ranked.index}" aria-pressed="'
        f'{"true" if explained else "false"}" '
        f'title="{escape(text(lang, "explore.explain", label=ranked.label))}">'
        f'<span class="name">{escape(ranked.label)}</span>{bars}</button></li>'
    )


def about(lang: str, attention: str, found: Mapping[str, Any] | None = None) -> str:
    """What this attention type does, and what was `found` of it (see `weights.bundled_results`)."""
    told = f" <span>{escape(_measured(lang, found))}</span>" if found else ""
    return f"<p>{escape(described(lang, attention))}{told}</p>"


def _measured(lang: str, found: Mapping[str, Any]) -> str:
    """How often it is right, whether the network uses it, and whether it points at the object."""
    told = [text(lang, "attention.right", share=f"{100 * found['top1']['value']:.1f}")]
    if use := found["use"].get("uniform"):
        lost = 100 * use["points"]["value"]
        key = "attention.costs" if lost >= 1 else "attention.unused"
        told.append(text(lang, key, points=f"{lost:.1f}".replace("-", "−")))
    pointing = found["pointing"] or {"best": {}}
    stage = pointing["best"].get("off_centre", {}).get("attention")
    for view in pointing.get("views", ()):
        if view["stage"] == stage and view["kind"] != "gradcam":
            hits = f"{100 * view['rates']['off_centre']['value']:.0f}"
            chance = f"{100 * pointing['subsets']['off_centre']['chance']:.0f}"
            told.append(text(lang, "attention.finds", share=hits, chance=chance))
            break
    return text(lang, "attention.measured", told=text(lang, "language.and").join(told))

"""The tab 'Lessons': six steps from what a VGG sees to whether attention explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from vggviz.app.examples import examples
from vggviz.app.formulas import FORMULAS
from vggviz.app.handlers import boundary
from vggviz.app.inputs import refusal, sent
from vggviz.app.link import Asked, parts, settings
from vggviz.app.markup import named
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.shell import Shell
from vggviz.locales import text
from vggviz.weights import bundled_results

__all__ = ["LESSONS", "NAME", "Lesson", "build", "found", "go", "page"]

NAME = "lessons.name"


class Lesson(NamedTuple):
    """A lesson: the key of its texts and formulas, the states that its buttons set, by the text on
    the button, and which of the things that were measured it tells, of which attention type."""

    key: str
    goes: Mapping[str, Asked]
    measured: str = ""
    tells: Sequence[str] = ()


def _asked(example: str, attention: str, stage: str, tab: str, target: str = "") -> Asked:
    return Asked(example, "tiny50", attention, stage, target, tab=tab)


LESSONS = (
    Lesson("sees", {"go": _asked("golden-retriever", "none", "block1", "blocks")}),
    Lesson("channel", {"go": _asked("tabby-cat", "se", "block5", "explore")}, "se", ("accuracy",)),
    Lesson(
        "spatial",
        {"go": _asked("bee-in-flight", "spatial", "block4", "explore")},
        "spatial",
        ("accuracy",),
    ),
    Lesson(
        "self",
        {"go": _asked("lesser-panda", "self_attention", "block4", "pixel")},
        "self_attention",
        ("accuracy",),
    ),
    Lesson(
        "gradcam",
        {
            "go": _asked("espresso-and-orange", "cbam", "block4", "explore", "espresso"),
            "go2": _asked("espresso-and-orange", "cbam", "block4", "explore", "orange"),
        },
        "cbam",
        ("pointing",),
    ),
    Lesson(
        "meaning",
        {
            "go": _asked("koala", "cbam", "block5", "what_if"),
            "go2": _asked("koala", "cbam", "block5", "faithful"),
        },
        "cbam",
        ("accuracy", "use"),
    ),
)
"""The lessons in order."""


def page(lang: str = "en") -> str:
    """All lessons, the first one unfolded; `CLICK` tells which button was pressed."""
    parts = "".join(_lesson(number, lesson, lang) for number, lesson in enumerate(LESSONS, 1))
    line = escape(text(lang, "lessons.line"))
    return f'<section lang="{lang}"><p class="line">{line}</p>{parts}</section>'


def _lesson(number: int, lesson: Lesson, lang: str) -> str:
    def told(part: str) -> str:
        return escape(text(lang, f"lessons.{lesson.key}.{part}"))

    paragraphs = "".join(f"<p>{part}</p>" for part in told("text").split("\n"))
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in found(lesson, lang))
    buttons = "".join(
        f'<button type="button" data-lesson="{number - 1}" data-go="{name}">{told(name)}</button>'
        for name in lesson.goes
    )
    return (
        f'<details name="lesson"{" open" if number == 1 else ""}>'
        f"<summary><b>{number}</b><h2>{told('title')}</h2></summary>"
        f'<div><div class="told">{paragraphs}<p class="go">{buttons}</p></div>'
        f'<div class="shown"><div class="formula" tabindex="0" role="group" '
        f'aria-label="{escape(text(lang, "lessons.formula"))}">{FORMULAS[lesson.key]}'
        f"<p>{told('letters')}</p></div>"
        + (f'<ul class="facts">{facts}</ul>' if facts else "")
        + f'<div class="ask"><h3>{escape(text(lang, "lessons.question"))}</h3>'
        f"<p>{told('question')}</p><details><summary>{escape(text(lang, 'lessons.answer'))}"
        f"</summary><p>{told('answer')}</p></details></div></div></div></details>"
    )


def found(lesson: Lesson, lang: str) -> list[str]:
    """What was measured of the bundled network of this lesson, in sentences; [] where nothing was.

    The numbers are read from what `vggviz evaluate` wrote, so that they are those of the weights
    that come along, whichever these are.
    """
    measured = bundled_results("tiny50", lesson.measured) if lesson.measured else None
    plain = bundled_results("tiny50", "none")
    if measured is None or plain is None:
        return []
    name = named(lang, lesson.measured)
    pointing = measured["pointing"] or {"subsets": {}}
    told: list[str] = []
    if "accuracy" in lesson.tells:
        told.append(
            text(
                lang,
                "lessons.measured",
                pictures=pointing["subsets"].get("all", {}).get("count", "?"),
                name=name,
                top1=_tenths(measured["top1"]["value"]),
                none=_tenths(plain["top1"]["value"]),
            )
        )
    if "use" in lesson.tells and (use := measured["use"].get("uniform")):
        points = {part: _tenths(use["points"][part]) for part in ("value", "low", "high")}
        lost = points.pop("value")
        told.append(text(lang, "lessons.use", name=name, lost=lost, **points))
    if "pointing" in lesson.tells and "off_centre" in pointing["subsets"]:
        subset = pointing["subsets"]["off_centre"]
        rates = {kind: _hits(pointing, kind) for kind in ("attention", "gradcam")}
        if None not in rates.values():
            whole = {kind: f"{100 * (rate or 0):.0f}" for kind, rate in rates.items()}
            chance = f"{100 * subset['chance']:.0f}"
            told.append(
                text(lang, "lessons.pointing", count=subset["count"], chance=chance, **whole)
            )
    return told


def _hits(pointing: Mapping[str, Any], kind: str) -> float | None:
    """How often the peak of attention, or of Grad-CAM, lies on off-centre objects, at the stage
    where this was most often so; None where there is no such map."""
    stage = pointing["best"].get("off_centre", {}).get(kind)
    rates = [
        view["rates"]["off_centre"]["value"]
        for view in pointing["views"]
        if view["stage"] == stage and (view["kind"] == "gradcam") == (kind == "gradcam")
    ]
    return rates[0] if rates else None


def _tenths(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def go(
    networks: Networks,
    lesson: object,
    button: object,
    wish: int,
    own: Owned = NOTHING,
    lang: str = "en",
) -> tuple[Any, ...]:
    """What the page's parts (`link.parts`) and the wish become at a lesson's button.

    Both come from a browser: they may be anything. Raises gr.Error, a sentence for people.
    """
    if not isinstance(lesson, int) or not 0 <= lesson < len(LESSONS):
        raise refusal(text(lang, "trouble.lesson"))
    state = LESSONS[lesson].goes.get(str(button))
    if state is None:
        raise refusal(text(lang, "trouble.lesson"))
    if state.weights not in networks.choices:
        state = state._replace(weights="", target="")
    with boundary(lang):
        return (*settings(networks, examples(), state, own, lang), wish + 1)


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    part = gr.HTML(page(), js_on_load=CLICK, apply_default_css=False, elem_id="lessons")
    shell.labelled(part, lambda lang: {"value": page(lang)})

    def pressed(wish: int, own: Owned, lang: str, event: gr.EventData) -> tuple[Any, ...]:
        asked = (sent(event).get("lesson"), sent(event).get("go"))
        return go(shell.networks, *asked, wish, own, lang)

    part.select(
        pressed,
        [shell.wish, shell.own, shell.lang],
        [*parts(shell), shell.wish],
        concurrency_id="network",
        show_progress_on=[part],
        api_visibility="private",
    )


CLICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-lesson]");
  if (button) trigger("select", {lesson: Number(button.dataset.lesson), go: button.dataset.go});
});
"""
"""The lessons' script: a button is a `select` event with the lesson's index and its own name."""

"""The tab 'Lessons': six, from what a network computes to whether attention explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import gradio as gr

from vggviz.app.errors import user_error
from vggviz.app.examples import examples
from vggviz.app.formulas import FORMULAS
from vggviz.app.inputs import event_data
from vggviz.app.link import PageState, component_updates, components
from vggviz.app.markup import attention_title
from vggviz.app.session import Session, handler
from vggviz.app.shell import PRIVATE, Shell
from vggviz.locales import text
from vggviz.weights import BUNDLED, bundled_results

__all__ = ["LESSONS", "NAME", "Lesson", "build", "go", "measured_facts", "page"]

NAME = "lessons.name"


class Lesson(NamedTuple):
    """A lesson: the key of its texts and formulas, the page's states that its buttons set, by the
    key of the button's text, and the measurements that it cites, of one attention type."""

    key: str
    buttons: Mapping[str, PageState]
    attention: str = ""
    measurements: Sequence[str] = ()


def _state(example: str, attention: str, stage: str, tab: str, target: str = "") -> PageState:
    return PageState(example, BUNDLED, attention, stage, target, tab=tab)


LESSONS = (
    Lesson("sees", {"go": _state("golden-retriever", "none", "block1", "blocks")}),
    Lesson("channel", {"go": _state("tabby-cat", "se", "block5", "explore")}, "se", ("accuracy",)),
    Lesson(
        "spatial",
        {"go": _state("bee-in-flight", "spatial", "block4", "explore")},
        "spatial",
        ("accuracy",),
    ),
    Lesson(
        "self",
        {"go": _state("lesser-panda", "self_attention", "block4", "pixel")},
        "self_attention",
        ("accuracy",),
    ),
    Lesson(
        "gradcam",
        {
            "go": _state("espresso-and-orange", "cbam", "block4", "explore", "espresso"),
            "go2": _state("espresso-and-orange", "cbam", "block4", "explore", "orange"),
        },
        "cbam",
        ("pointing",),
    ),
    Lesson(
        "meaning",
        {
            "go": _state("koala", "cbam", "block5", "what_if"),
            "go2": _state("koala", "cbam", "block5", "faithful"),
        },
        "cbam",
        ("accuracy", "use"),
    ),
)
"""The lessons in order."""


def page(lang: str = "en") -> str:
    """The HTML of all lessons, the first one unfolded; `CLICK` reports the buttons' clicks."""
    parts = "".join(_lesson(number, lesson, lang) for number, lesson in enumerate(LESSONS, 1))
    line = escape(text(lang, "lessons.line"))
    return f'<section lang="{lang}"><p class="line">{line}</p>{parts}</section>'


def _lesson(number: int, lesson: Lesson, lang: str) -> str:
    def words(part: str) -> str:
        return escape(text(lang, f"lessons.{lesson.key}.{part}"))

    paragraphs = "".join(f"<p>{part}</p>" for part in words("text").split("\n"))
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in measured_facts(lesson, lang))
    buttons = "".join(
        f'<button type="button" data-lesson="{number - 1}" data-go="{name}">{words(name)}</button>'
        for name in lesson.buttons
    )
    return (
        f'<details name="lesson"{" open" if number == 1 else ""}>'
        f"<summary><b>{number}</b><h2>{words('title')}</h2></summary>"
        f'<div><div class="told">{paragraphs}<p class="go">{buttons}</p></div>'
        f'<div class="shown"><div class="formula" tabindex="0" role="group" '
        f'aria-label="{escape(text(lang, "lessons.formula"))}">{FORMULAS[lesson.key]}'
        f"<p>{words('letters')}</p></div>"
        + (f'<ul class="facts">{facts}</ul>' if facts else "")
        + f'<div class="ask"><h3>{escape(text(lang, "lessons.question"))}</h3>'
        f"<p>{words('question')}</p><details><summary>{escape(text(lang, 'lessons.answer'))}"
        f"</summary><p>{words('answer')}</p></details></div></div></div></details>"
    )


def measured_facts(lesson: Lesson, lang: str) -> list[str]:
    """The measurements of this lesson in sentences, [] where there are none.

    The numbers come from the results of `vggviz evaluate` that are bundled with the weights.
    """
    measured = bundled_results(BUNDLED, lesson.attention) if lesson.attention else None
    plain = bundled_results(BUNDLED, "none")
    if measured is None or plain is None:
        return []
    name = attention_title(lang, lesson.attention)
    pointing = measured["pointing"] or {"subsets": {}}
    facts: list[str] = []
    if "accuracy" in lesson.measurements:
        facts.append(
            text(
                lang,
                "lessons.measured",
                pictures=pointing["subsets"].get("all", {}).get("count", "?"),
                name=name,
                top1=_tenths(measured["top1"]["value"]),
                none=_tenths(plain["top1"]["value"]),
            )
        )
    if "use" in lesson.measurements and (use := measured["use"].get("uniform")):
        points = {part: _tenths(use["points"][part]) for part in ("value", "low", "high")}
        lost = points.pop("value")
        facts.append(text(lang, "lessons.use", name=name, lost=lost, **points))
    if "pointing" in lesson.measurements and "off_centre" in pointing["subsets"]:
        subset = pointing["subsets"]["off_centre"]
        rates = {kind: _hits(pointing, kind) for kind in ("attention", "gradcam")}
        if None not in rates.values():
            whole = {kind: f"{100 * (rate or 0):.0f}" for kind, rate in rates.items()}
            chance = f"{100 * subset['chance']:.0f}"
            facts.append(
                text(lang, "lessons.pointing", count=subset["count"], chance=chance, **whole)
            )
    return facts


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


@handler
def go(session: Session, lesson: object, button: object, run_request: int) -> tuple[Any, ...]:
    """The updates of the page's components (`link.COMPONENTS`) and a new `run_request`, after a
    click on a button of a lesson.

    `lesson` and `button` come from a browser and may be anything. Raises gr.Error.
    """
    if not isinstance(lesson, int) or not 0 <= lesson < len(LESSONS):
        raise user_error(session.text("trouble.lesson"))
    state = LESSONS[lesson].buttons.get(str(button))
    if state is None:
        raise user_error(session.text("trouble.lesson"))
    if state.weights not in session.networks.choices:
        state = state._replace(weights="", target="", stage="")
    return (*component_updates(session, examples(), state), run_request + 1)


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`."""
    part = gr.HTML(page(), js_on_load=CLICK, apply_default_css=False, elem_id="lessons")
    shell.labelled(part, lambda session: {"value": page(session.lang)})

    def pressed(session: Session, run_request: int, event: gr.EventData) -> tuple[Any, ...]:
        data = event_data(event)
        return go(session, data.get("lesson"), data.get("go"), run_request)

    part.select(
        shell.bind(pressed),
        [*shell.states, shell.run_request],
        [*components(shell), shell.run_request],
        concurrency_id="network",
        show_progress_on=[part],
        **PRIVATE,
    )


CLICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-lesson]");
  if (button) trigger("select", {lesson: Number(button.dataset.lesson), go: button.dataset.go});
});
"""
"""The lessons' script: a button is a `select` event with the lesson's index and its own name."""

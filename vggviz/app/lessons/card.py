"""The card beside the living page: all lessons' steps as HTML, of which the browser shows one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from vggviz.app.errors import user_error
from vggviz.app.examples import examples
from vggviz.app.formulas import FORMULAS
from vggviz.app.lessons.facts import measured_facts
from vggviz.app.lessons.steps import LESSONS, Lesson, Step
from vggviz.app.link import component_updates, connect
from vggviz.app.session import Session, handler
from vggviz.app.shell import PRIVATE, Shell
from vggviz.locales import text

__all__ = ["build", "button", "card", "go"]

_SCRIPT = Path(__file__).with_name("card.js").read_text(encoding="utf-8")


def button(lang: str = "en") -> str:
    """The button that opens the card."""
    name = escape(text(lang, "lessons.name"))
    return f'<button type="button" aria-expanded="false">{name}</button>'


def card(lang: str = "en") -> str:
    """The list of the lessons, and every step of each; `card.js` shows one at a time."""
    name = escape(text(lang, "lessons.name"))
    entries = "".join(_entry(number, lesson, lang) for number, lesson in enumerate(LESSONS, 1))
    sections = "".join(_lesson(number, lesson, lang) for number, lesson in enumerate(LESSONS, 1))
    buttons = {
        part: f'<button type="button" class="{part}" aria-label="{escape(text(lang, key))}" '
        f'title="{escape(text(lang, key))}"></button>'
        for part, key in (("list", "lessons.list"), ("close", "lessons.close"))
    }
    return (
        f'<aside lang="{lang}" aria-label="{name}"><header>{buttons["list"]}<h2>{name}</h2>'
        f"{buttons['close']}</header><nav><p>{escape(text(lang, 'lessons.line'))}</p>"
        f"<ol>{entries}</ol></nav>{sections}</aside>"
    )


def _entry(number: int, lesson: Lesson, lang: str) -> str:
    title = escape(text(lang, f"lessons.{lesson.key}.title"))
    line = escape(text(lang, f"lessons.{lesson.key}.line"))
    return (
        f'<li><button type="button" data-open="{lesson.key}"><b>{number}</b>'
        f"<span>{title}<small>{line}</small></span></button></li>"
    )


def _lesson(number: int, lesson: Lesson, lang: str) -> str:
    count = len(lesson.steps)
    dots = "".join(
        f'<li><button type="button" data-to="{step.key}" '
        f'aria-label="{escape(text(lang, "lessons.step", number=index, count=count))}">'
        f"</button></li>"
        for index, step in enumerate(lesson.steps, 1)
    )
    title = escape(text(lang, f"lessons.{lesson.key}.title"))
    letters = escape(text(lang, f"lessons.{lesson.key}.letters"))
    steps = "".join(_step(lesson, step, lang) for step in lesson.steps)
    copied = escape(text(lang, "lessons.copied"))
    return (
        f'<section data-lesson="{lesson.key}" hidden><h3>{number} · {title}</h3>'
        f'<ol class="progress">{dots}</ol>{steps}'
        f'<details class="formula" data-letters="{escape(json.dumps(dict(lesson.letters)))}">'
        f"<summary>{escape(text(lang, 'lessons.formula'))}</summary>{FORMULAS[lesson.key]}"
        f"<p>{letters}</p></details>"
        f'<footer><button type="button" class="back">{escape(text(lang, "lessons.back"))}</button>'
        f'<a href="?" data-copied="{copied}">{escape(text(lang, "lessons.link"))}</a>'
        f'<button type="button" class="next">{escape(text(lang, "lessons.next"))}</button>'
        f"</footer></section>"
    )


def _step(lesson: Lesson, step: Step, lang: str) -> str:
    def words(part: str) -> str:
        return escape(text(lang, f"lessons.{lesson.key}.{step.key}.{part}"))

    right = "" if step.right is None else str(step.right)
    options = "".join(
        f'<button type="button" data-option="{index}" aria-pressed="false">{option}</button>'
        for index, option in enumerate(words("options").split("|"))
    )
    task = ""
    if step.done:
        show = ""
        if step.show or step.press:
            show = (
                f'<button type="button" class="show">{escape(text(lang, "lessons.show"))}</button>'
            )
        task = f'<p class="do"><b>{escape(text(lang, "lessons.do"))}</b> {words("do")} {show}</p>'
    facts = "".join(
        f"<li>{escape(fact)}</li>" for fact in measured_facts(lesson.attention, step.facts, lang)
    )
    measured = f'<ul class="facts">{facts}</ul>' if facts else ""
    judged = (
        ""
        if step.right is None
        else (
            f'<p class="judged"><b class="yes">✓ {escape(text(lang, "lessons.yes"))}</b>'
            f'<b class="no">✗ {escape(text(lang, "lessons.no"))}</b></p>'
        )
    )
    return (
        f'<article data-step="{step.key}" data-look="{escape(step.look)}" data-right="{right}" '
        f'data-done="{escape(step.done)}" data-press="{escape(step.press)}" hidden>'
        f"<p>{words('text')}</p>"
        f'<div class="ask" role="group"><p>{words("ask")}</p>{options}</div>{task}'
        f'<div class="reveal" aria-live="polite">{judged}<p>{words("reveal")}</p>{measured}</div>'
        f"</article>"
    )


@handler
def go(
    session: Session, lesson: object, step: object, show: object, run_request: int
) -> tuple[Any, ...]:
    """The updates of the page's components (`link.COMPONENTS`) and a new `run_request`, for the
    state with which a step opens, or, with `show`, for what it asks the student to do.

    `lesson` and `step` are keys. They come from a browser and may be anything. Raises gr.Error.
    """
    steps = {(one.key, part.key): part for one in LESSONS for part in one.steps}
    found = steps.get((str(lesson), str(step)))
    if found is None:
        raise user_error(session.text("trouble.lesson"))
    state = found.show if show and found.show else found.state
    if state.weights not in session.networks.choices:
        state = state._replace(weights="", attention="", target="", contrast="", stage="")
    return (*component_updates(session, examples(), state), run_request + 1)


def build(shell: Shell) -> None:
    """Lay the card out and connect it."""
    part = gr.HTML(card(), js_on_load=_SCRIPT, apply_default_css=False, elem_id="lesson")
    shell.labelled(part, lambda session: {"value": card(session.lang)})

    def press(session: Session, data: Mapping[str, Any], run_request: int) -> tuple[Any, ...]:
        return go(session, data.get("lesson"), data.get("step"), data.get("show"), run_request)

    connect(shell, part, press, show_progress_on=[part], **PRIVATE)

"""The tab 'Paint': a visitor paints attention weights, and the answer follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from vggviz.app.errors import user_error
from vggviz.app.inputs import event_data
from vggviz.app.markup import attention_title, placeholder
from vggviz.app.session import Session, handler
from vggviz.app.shell import HIDDEN, PRIVATE, Shell
from vggviz.app.tabs.paint_view import answer, board, painting_target, tools
from vggviz.app.tabs.panels import html
from vggviz.networks.paint_code import decode
from vggviz.networks.painting import Grounds, painted_logits
from vggviz.types import InputError

__all__ = ["NAME", "build", "stroke", "update_tab"]

NAME = "paint.name"

_SCRIPT = "".join(
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("paint.js", "paint_input.js", "paint_save.js")
)
INSTEAD = ("cbam", "spatial", "softmax", "gate")  # types that can be painted, the best first


def grounds_of(session: Session) -> Grounds:
    """What can be painted of the last result."""
    return session.paint_grounds(session.explainer(), session.current.crop)


def paintable_type(session: Session) -> str | None:
    """The attention type to offer where the chosen one can't be painted, None where these weights
    have no such."""
    types = session.networks.types(session.current.request.weights, session.own)
    return next((one for one in INSTEAD if one in types), None)


@handler
def update_tab(session: Session, stage: str) -> tuple[Any, ...]:
    """After another result: the picture to paint on, its tools, the answer with the learned
    weights, and the button that chooses a type that can be painted. Where there is nothing to paint
    the first is a hint, and the button is visible where these weights have such a type."""
    result = session.current
    try:
        stages = (grounds := grounds_of(session)).stages
    except InputError:  # of a network that can't be run from a stage on
        hint = placeholder(
            session.text("paint.foreign"), session.text("paint.foreign_hint"), "nothing"
        )
        return hint, "", "", gr.update(visible=False)
    if not stages:
        other = paintable_type(session)
        key = "paint.other" if other else "paint.none"
        hint = placeholder(session.text(key), session.text(f"{key}_hint"), "nothing")
        title = attention_title(session.lang, other or "none")
        label = session.text("paint.choose", type=title)
        return hint, "", "", gr.update(visible=other is not None, value=label)
    stage = stage if stage in stages else [*stages][-1]
    learned = session.explainer().prediction(grounds.logits)
    said = answer(session.lang, learned, None, painting_target(result), stage, 0)
    return (
        board(session.lang, result, grounds, stage),
        tools(session.lang, grounds, stage),
        said,
        gr.update(visible=False),
    )


@handler
def stroke(session: Session, event: gr.EventData) -> str:
    """The answer to the paint that a browser sent: {stage, code, number}, which may be anything.
    An empty code stands for the learned weights."""
    data = event_data(event)
    stage, code, number = (data.get(name) for name in ("stage", "code", "number"))
    if type(number) is not int or abs(number) > 2**53 or not isinstance(code, str):
        raise user_error(session.text("trouble.view"))
    explainer, painted = session.explainer(), None
    with session.networks.strokes.enter(session.lang):
        grounds = grounds_of(session)
        if not isinstance(stage, str) or stage not in grounds.stages:
            raise user_error(session.text("trouble.view"))
        if code:
            ground = grounds.stages[stage]
            logits = painted_logits(explainer.model, ground, decode(code, ground.size))
            painted = explainer.prediction(logits)
    learned, goal = explainer.prediction(grounds.logits), painting_target(session.current)
    return answer(session.lang, learned, painted, goal, stage, number)


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`.

    A stroke runs outside of the queue, whose two requests for each event would take longer than the
    network: `Networks.strokes` bounds how many run, `server.rate_limit` how many an address sends.
    """
    session = shell.sessions["paint"] = gr.State(None)
    shell.line("paint.line")
    with gr.Row(elem_id="paint"):
        picture = html("", js_on_load=_SCRIPT, elem_id="paint-board")
        said = html("", elem_id="paint-answer")
        with_tools = html("", elem_id="paint-tools")
    choose = gr.Button(visible=False, size="sm", elem_classes="act", elem_id="paint-choose")
    session.change(
        update_tab,
        [session, shell.stage],
        [picture, with_tools, said, choose],
        concurrency_id="network",
        show_progress_on=picture,
        **PRIVATE,
    )
    picture.select(stroke, session, said, queue=False, trigger_mode="multiple", **HIDDEN)

    def choose_type(session: Session, run_request: int) -> tuple[str, int]:
        other = paintable_type(session) or session.current.request.attention
        return other, run_request + 1

    choose.click(
        shell.bind(choose_type),
        [*shell.states, shell.run_request],
        [shell.attention, shell.run_request],
        **HIDDEN,
    )

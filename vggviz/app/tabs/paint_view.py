"""The parts of the tab 'Paint' as HTML: the picture to paint on, its tools, and the answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import NamedTuple
from zlib import crc32

from vggviz.app.examples import example_classes, painting_goal
from vggviz.app.markup import percent, stage_title
from vggviz.app.result import Result
from vggviz.app.tabs.panels import text_percent
from vggviz.locales import class_name, text
from vggviz.networks.paint_code import encode
from vggviz.networks.painting import Grounds, PaintGround
from vggviz.plotting import data_uri
from vggviz.types import Prediction, Ranked
from vggviz.weights import BUNDLED

__all__ = ["SHOWN", "Goal", "answer", "board", "painting_target", "tools"]

SHOWN = 5
"""Classes in the answer."""


class Goal(NamedTuple):
    """The class that the visitor is to make the network say, by its index as `number`, and the
    stage at which a paint is known that does it, '' where none is known."""

    number: int
    label: str
    stage: str = ""


def painting_target(result: Result) -> Goal:
    """What painting is to make the network say: the class that was chosen; else of an example the
    class that can be won; else the second of the prediction. Never what it says by itself."""
    first, second = result.top[0], result.top[min(1, len(result.top) - 1)]
    if result.request.target and result.target.index != first.index:
        return Goal(result.target.index, result.target.label)
    known = painting_goal(result.request.path)
    if known and result.request.weights == BUNDLED:
        for one in result.prediction:
            if one.label == known.label != first.label:
                stage = known.stage if result.attention == "cbam" else ""
                return Goal(one.index, one.label, stage)
    return Goal(second.index, second.label)


def board(lang: str, result: Result, grounds: Grounds, stage: str) -> str:
    """The picture to paint on; its data hold each stage's title, kind, size, learned weights as a
    code and, for channels, their order: those that contribute most to the class come first."""
    stages = {name: _facts(lang, result, one) for name, one in grounds.stages.items()}
    example = result.request.path if example_classes(result.request.path) else ""
    stem = (example or "").rpartition("/")[2].rpartition(".")[0]
    side = len(result.square)
    data = {
        "key": f"{crc32(result.crop.tobytes())} {result.request.weights} {result.attention}",
        "stages": json.dumps(stages, ensure_ascii=False, separators=(",", ":")),
        "stage": stage,
        "example": stem,
        "weights": result.request.weights,
        "attention": result.request.attention,
        "place": text(lang, "paint.place"),
        "channel": text(lang, "paint.channel"),
        "page": text(lang, "paint.page"),
    }
    listed = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
    return (
        f'<div class="board" {listed}><div class="well easel" tabindex="0" role="application" '
        f'aria-label="{escape(text(lang, "paint.canvas"))}" aria-describedby="painted-place">'
        f'<img src="{data_uri(result.square)}" width="{side}" height="{side}" alt="" '
        f'draggable="false"><canvas width="{side}" height="{side}"></canvas>'
        f'<svg preserveAspectRatio="none" aria-hidden="true"><path/></svg>'
        f'<i class="brush" hidden></i><p class="invite">{escape(text(lang, "paint.invite"))}</p>'
        f'<output id="painted-place" class="hidden-text" aria-live="polite"></output></div></div>'
    )


def _facts(lang: str, result: Result, ground: PaintGround) -> dict[str, object]:
    """What the browser needs of a stage."""
    rows, columns = ground.size
    facts: dict[str, object] = {
        "title": stage_title(lang, ground.stage),
        "kind": ground.kind,
        "rows": rows,
        "columns": columns,
        "learned": encode(ground.learned),
        "note": text(lang, f"paint.kind.{ground.kind}"),
    }
    if ground.kind == "channel":
        contributions = result.stages[ground.stage].contributions
        weights = ground.weights.numpy() if contributions is None else contributions
        facts["order"] = (-weights).argsort(kind="stable").tolist()
    return facts


def tools(lang: str, grounds: Grounds, stage: str) -> str:
    """The stages, and what paints, undoes and compares, as buttons."""

    def button(name: str, pressed: bool | None = None, extra: str = "") -> str:
        state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
        label = escape(text(lang, f"paint.{name}"))
        return (
            f'<button type="button" class="button" data-do="{name}"{state}{extra}>{label}</button>'
        )

    def group(name: str, content: str) -> str:
        label = escape(text(lang, f"paint.{name}"))
        return f'<div role="group" class="choice" aria-label="{label}" data-roving>{content}</div>'

    stages = "".join(
        f'<button type="button" data-stage="{escape(one)}" '
        f'aria-pressed="{str(one == stage).lower()}">{escape(stage_title(lang, one))}</button>'
        for one in grounds.stages
    )
    sizes = "".join(
        f'<button type="button" data-size="{name}" '
        f'aria-pressed="{str(name == "medium").lower()}" '
        f'aria-label="{escape(text(lang, f"paint.size.{name}"))}"><i></i></button>'
        for name in ("small", "medium", "large")
    )
    modes = "".join(
        f'<button type="button" data-mode="{name}" aria-pressed="{str(not index).lower()}">'
        f"{escape(text(lang, f'paint.{name}'))}</button>"
        for index, name in enumerate(("brush", "erase"))
    )
    acts = "".join(map(button, ("undo", "clear", "learned"))) + button("compare", False)
    title = escape(text(lang, "paint.save_title"))
    acts += button("save", extra=f' aria-label="{title}" title="{title}"')
    pages = "".join(
        f'<button type="button" class="button" data-page="{step}" '
        f'aria-label="{escape(text(lang, f"paint.page.{name}"))}">{sign}</button>'
        for step, name, sign in ((-1, "back", "‹"), (1, "next", "›"))
    )
    return (
        f'<div class="tools">{group("stage", stages)}'
        f'<div class="for-places">{group("mode", modes)}{group("size", sizes)}</div>'
        f'<div class="for-channels"><output></output>{pages}</div>'
        f'<div class="acts">{acts}</div></div><p class="caption note"></p>'
    )


def answer(
    lang: str, learned: Prediction, painted: Prediction | None, goal: Goal, stage: str, number: int
) -> str:
    """What the network says with the paint (None: nothing is painted), beside what it says with
    its own weights; `number` is that of the stroke that is answered."""
    now = painted or learned
    before = {one.index: one.probability for one in learned}
    rows = _rows(now, goal.number)
    won = painted is not None and now.ranked[0].index == goal.number
    name = class_name(lang, goal.label)
    share = next(one.probability for one in now if one.index == goal.number)
    if won:
        said = text(lang, "paint.won", label=name, share=text_percent(share))
    else:
        said = text(lang, "paint.goal", label=name)
    sure = "paint.known" if goal.stage == stage else "paint.unknown"
    hint = "" if won else text(lang, sure)
    listed = "".join(_row(lang, one, before[one.index], goal.number) for one in rows)
    title = escape(text(lang, "paint.answer"))
    heads = (escape(text(lang, f"paint.column.{one}")) for one in ("now", "was"))
    columns = "".join(f"<span>{head}</span>" for head in heads)
    return (
        f'<div data-number="{number}" data-won="{str(won).lower()}" '
        f'data-painted="{str(painted is not None).lower()}">'
        f'<h2 class="goal"><b>{escape(said)}</b> <small>{escape(hint)}</small></h2>'
        f'<p class="caption columns" aria-hidden="true">{columns}</p>'
        f'<ol class="bars moving" aria-label="{title}">{listed}</ol>'
        f'<p class="reading" role="status">{escape(_reading(lang, learned, painted))}</p></div>'
    )


def _rows(now: Prediction, goal: int) -> Sequence[Ranked]:
    """The most probable classes, with the goal in the place of the last where it is not there."""
    top = now.top(SHOWN)
    if any(one.index == goal for one in top):
        return top
    return (*top[:-1], next(one for one in now if one.index == goal))


def _row(lang: str, one: Ranked, before: float, goal: int) -> str:
    now = f"--now:{one.probability:.4f};--was:{before:.4f}"
    mark = " class=goal" if one.index == goal else ""
    return (
        f'<li{mark} data-index="{one.index}" style="{now}">'
        f'<span class="name">{escape(class_name(lang, one.label))}</span>'
        f'<span class="share"><b>{percent(one.probability)}</b><s>{percent(before)}</s></span>'
        f'<span class="bar"><u></u><i></i></span></li>'
    )


def _reading(lang: str, learned: Prediction, painted: Prediction | None) -> str:
    """In words: how the answer changed."""
    old = learned.ranked[0]
    if painted is None:
        return text(lang, "paint.nothing")
    new = painted.ranked[0]
    values = {
        "label": class_name(lang, old.label),
        "before": text_percent(old.probability),
        "other": class_name(lang, new.label),
        "after": text_percent(new.probability),
    }
    return text(lang, "paint.stays" if new.index == old.index else "paint.changes", **values)

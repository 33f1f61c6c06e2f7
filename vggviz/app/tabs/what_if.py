"""The tab 'What if': the prediction and maps with other attention weights or untrained layers."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from vggviz.app.errors import user_error
from vggviz.app.markup import stage_title
from vggviz.app.result import Floats
from vggviz.app.session import Session, handler
from vggviz.app.shell import PRIVATE, Shell
from vggviz.app.tabs.panels import (
    asked_stage,
    bars,
    html,
    join,
    panel,
    shrink,
    stage_radio,
    stage_update,
    stage_with_attention,
    text_percent,
)
from vggviz.explanation import Explanation
from vggviz.locales import class_name
from vggviz.metrics.agreement import agreement
from vggviz.metrics.replacement import REPLACEMENTS, change_to
from vggviz.types import Kind, Ranked

NAME = "what_if.name"

LEARNED = "learned"
CHOICES = (LEARNED, *REPLACEMENTS)
MAX_LAYERS = 60  # that can be untrained in any shared network: the end of the slider at first


def explain_changed(session: Session, replacement: str, count: int = 0) -> Explanation:
    """The square of the last result with other attention weights (a key of `REPLACEMENTS`, or
    'learned') in a network with its `count` topmost layers untrained, for the same class."""
    model = session.explainer().model
    other = change_to(replacement, torch.Generator().manual_seed(0), model.key_positions())

    def change(path: str, kind: Kind, weights: Tensor) -> Tensor:
        # Detached: the gradient does not reach the replaced weights, but runs past them as before.
        return weights if replacement == LEARNED else other(path, kind, weights.detach())

    return session.explain_changed(change, list(model.parameter_groups())[:count])


@handler
def compare(session: Session, replacement: str, count: int, stage: str) -> Any:
    """The results before and after the change, side by side, and a reading, as HTML."""
    if (
        replacement not in CHOICES
        or not isinstance(count, int)
        or count < 0
        or stage not in session.current.names
    ):
        raise user_error(session.text("trouble.view"))
    names = list(session.explainer().model.parameter_groups())[:count]
    after = None
    if replacement != LEARNED or names:
        after = explain_changed(session, replacement, len(names))
    return _compare(session, replacement, after, names, stage)


def _compare(
    session: Session, replacement: str, after: Explanation | None, names: list[str], stage: str
) -> str:
    result, stage_maps = session.current, session.current.stages[stage]
    before = _half(session, "before", result.top, stage_maps.attention, stage_maps.gradcam, stage)
    if after is None:
        other = _half(session, "after", result.top, stage_maps.attention, stage_maps.gradcam, stage)
        sentences = [session.text("what_if.untouched")]
    else:
        spatial = after.spatial(stage)
        attention = None if spatial is None else spatial.numpy()
        gradcam = after.heatmaps[stage, "gradcam"].raw.numpy()
        other = _half(session, "after", after.prediction.top(5), attention, gradcam, stage)
        sentences = reading(session, after, names, stage)
    if not result.with_attention:
        sentences.append(session.text("what_if.no_attention"))
    if result.trained == "nothing":
        sentences.append(session.text("what_if.random"))
    untrained = f' data-untrained="{len(names)}"' if names else ""
    return (
        f'<p class="reading" role="status" data-replacement="{replacement}"{untrained}>'
        f"{escape(join(session.lang, sentences))}</p>"
        f'<div class="halves">{before}{other}</div>'
    )


def _half(
    session: Session,
    key: str,
    top: tuple[Ranked, ...],
    attention: Floats | None,
    gradcam: Floats,
    stage: str,
) -> str:
    result, lang = session.current, session.lang
    name, square = session.text(f"what_if.{key}"), shrink(result.square, 300)
    maps = ""
    of_attention = result.stages[stage].kind
    for key_, raw, kind in (("attention", attention, of_attention), ("gradcam", gradcam, None)):
        title = session.text(f"what_if.{key_}", label=class_name(lang, result.target.label))
        alt = session.text("what_if.alt", map=title, block=stage_title(lang, stage), name=name)
        if raw is None:
            alt = session.text("what_if.no_map")
        caption = f'<figcaption title="{escape(title)}">{escape(title)}</figcaption>'
        maps += f"<figure>{caption}{panel(lang, square, raw, alt, kind)}</figure>"
    listed = bars(lang, top, session.text("what_if.top", name=name), result.target.index)
    heading = f"<h2>{escape(name)}</h2>"
    return f'<section class="{key}">{heading}{listed}<div class="pair">{maps}</div></section>'


def reading(session: Session, after: Explanation, names: list[str], stage: str) -> list[str]:
    """In words: how the prediction and Grad-CAM changed, and what that means."""
    result, text = session.current, session.text
    old, new = result.top[0], after.prediction.top(1)[0]
    now = next(one for one in after.prediction if one.index == old.index)
    same = new.index == old.index
    answer = {"label": class_name(session.lang, old.label), "before": text_percent(old.probability)}
    if same:
        sentences = [text("what_if.stays", after=text_percent(now.probability), **answer)]
    else:
        shares = {
            "other": class_name(session.lang, new.label),
            "after": text_percent(new.probability),
        }
        sentences = [text("what_if.changes", **shares, **answer)]
    before = torch.from_numpy(result.stages[stage].gradcam)
    rho = agreement(before, after.heatmaps[stage, "gradcam"].raw).spearman
    if math.isnan(rho):
        sentences.append(text("what_if.map_flat"))
    else:
        how = "same" if rho >= 0.9 else "moves" if rho >= 0.5 else "other"
        sentences.append(text(f"what_if.map_{how}", rho=f"{rho:.2f}".replace("-", "−")))
    if names:
        listed = text("language.list").join(_layer_title(session, name) for name in names)
        if not math.isnan(rho):
            sentences.append(text("what_if.survives" if rho >= 0.9 else "what_if.depends"))
        sentences.append(text("what_if.untrained", names=listed))
    elif result.with_attention:
        fall = old.probability - now.probability
        key = "used" if not same or fall >= 0.05 else "better" if fall <= -0.05 else "unused"
        sentences.append(text(f"what_if.{key}"))
    return sentences


def _layer_title(session: Session, name: str) -> str:
    if name.startswith("attention at "):
        return session.text("what_if.attention_at", stage=stage_title(session.lang, name[13:]))
    return session.text("what_if.classifier") if name == "head" else name


@handler
def update_tab(session: Session, replacement: str, count: int, stage: str) -> Any:
    """The updates of the stages and of the number of layers, and the comparison.

    The number itself is updated only where there are not as many layers: what is chosen meanwhile
    stays.
    """
    most = len(session.explainer().model.parameter_groups())
    usable = min(count, most) if isinstance(count, int) else 0
    layers = gr.update(maximum=most)
    if usable != count:
        layers["value"] = usable
    content = compare(session, replacement, usable, stage_with_attention(session.current, stage))
    return stage_update(session, stage), layers, content


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`."""
    session = shell.sessions["what_if"] = gr.State(None)
    shell.line("what_if.line")

    def labels(session: Session) -> dict[str, Any]:
        choices = [(session.text(f"what_if.{key}"), key) for key in CHOICES]
        return {"choices": choices, "label": session.text("what_if.replacement")}

    with gr.Row(elem_classes="controls"):
        replacement = shell.labelled(
            gr.Radio(
                labels(Session(shell.networks))["choices"],
                value=LEARNED,
                elem_id="what-weights",
                elem_classes="segments",
            ),
            labels,
        )
        count = shell.labelled(
            gr.Slider(0, MAX_LAYERS, 0, step=1, buttons=[], elem_id="what-layers"),
            label="what_if.layers",
        )
        stage = stage_radio(shell, "what-stage")
    content = html("", elem_id="what-if", elem_classes="told", min_height=560)
    how: dict[str, Any] = {
        "show_progress_on": content,
        "concurrency_id": "network",
        "trigger_mode": "always_last",
        **PRIVATE,
    }
    asked = asked_stage(shell, session, stage)

    def draw(session: Session, replacement: str, count: int, asked: tuple[str, int]) -> Any:
        return update_tab(session, replacement, count, asked[0])

    gr.on(
        [asked.change, replacement.input, count.input],
        draw,
        [session, replacement, count, asked],
        [stage, count, content],
        **how,
    )

"""The tab 'What if': other attention weights, or untrained layers, and what becomes of it all."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from html import escape
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from vggviz.app.handlers import boundary
from vggviz.app.inputs import refusal
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.pictures import Floats, Shown
from vggviz.app.rerun import again, explainer_of, known_stage, spatial_of, stage_of
from vggviz.app.shell import Shell
from vggviz.app.tabs.lazy import Call
from vggviz.app.tabs.panels import bars, block, blocks, html, join, panel, shrink, text_percent
from vggviz.explainer import Explainer
from vggviz.explanation import Explanation
from vggviz.hooks.capture import intervene
from vggviz.locales import text
from vggviz.metrics.agreement import agreement
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.networks import build_network
from vggviz.types import Kind, Ranked

NAME = "what_if.name"

LEARNED = "learned"
CHOICES = (LEARNED, *REPLACEMENTS)
MOST = 60  # layers that can be untrained, in any network here


def untrained(explainer: Explainer, count: int) -> Explainer:
    """The network with its `count` topmost layers as they were before training."""
    paths = [
        path for one in list(explainer.model.parameter_groups().values())[:count] for path in one
    ]
    if not paths:
        return explainer
    model = build_network(explainer.model.config, torch.Generator().manual_seed(0))
    trained = explainer.model.state_dict().items()
    kept = {
        key: value for key, value in trained if not key.startswith(tuple(f"{p}." for p in paths))
    }
    model.load_state_dict(kept, strict=False, assign=True)  # both are frozen: they may share
    return Explainer(model, explainer.card, device=explainer.device, copy=False)


def changed(explainer: Explainer, shown: Shown, replacement: str, count: int = 0) -> Explanation:
    """The same square with other attention weights (a key of `REPLACEMENTS`, or 'learned') in a
    network with `count` layers untrained: for the same class as before."""
    explainer = untrained(explainer, count)
    if replacement == LEARNED:
        return again(explainer, shown)
    generator, replace = torch.Generator().manual_seed(0), REPLACEMENTS[replacement]

    def change(_: str, kind: Kind, weights: Tensor) -> Tensor:
        # Gradients run through the network's own weights no more, but they still run.
        return replace(kind, weights.detach(), generator)

    with intervene(explainer.model, change) if len(explainer.model.attention) else nullcontext():
        return again(explainer, shown)


def compare(
    networks: Networks,
    call: Call | None,
    replacement: str,
    count: int,
    stage: str,
    own: Owned = NOTHING,
) -> Any:
    """Before and after, side by side, and what it means, as HTML."""
    if call is None:
        return gr.skip()
    with boundary(call.lang):
        shown, lang, stage = call.shown, call.lang, known_stage(stage, call.lang)
        if replacement not in CHOICES or not isinstance(count, int) or count < 0:
            raise refusal(text(lang, "trouble.view"))
        explainer = explainer_of(networks, shown, own)
        names = list(explainer.model.parameter_groups())[:count]
        after = None
        if replacement != LEARNED or names:
            after = changed(explainer, shown, replacement, len(names))
        return _compare(lang, shown, after, names, stage)


def _compare(
    lang: str, shown: Shown, after: Explanation | None, names: list[str], stage: str
) -> str:
    place = shown.places[stage]
    before = _half(lang, shown, "before", shown.top, place.attention, place.gradcam, stage)
    if after is None:
        same = _half(lang, shown, "after", shown.top, place.attention, place.gradcam, stage)
        said = [text(lang, "what_if.untouched")]
    else:
        attention = spatial_of(after, stage)
        gradcam = after.heatmaps[stage, "gradcam"].raw.numpy()
        top = after.prediction.top(5)
        same = _half(lang, shown, "after", top, attention, gradcam, stage)
        said = reading(lang, shown, after, names, stage)
    if not any(one.weighs for one in shown.places.values()):
        said.append(text(lang, "what_if.no_attention"))
    if shown.trained == "nothing":
        said.append(text(lang, "what_if.random"))
    return (
        f'<p class="reading" role="status">{escape(join(lang, said))}</p>'
        f'<div class="halves">{before}{same}</div>'
    )


def _half(
    lang: str,
    shown: Shown,
    key: str,
    top: tuple[Ranked, ...],
    attention: Floats | None,
    gradcam: Floats,
    stage: str,
) -> str:
    name, square = text(lang, f"what_if.{key}"), shrink(shown.square, 300)
    where = block(lang, stage)
    maps = ""
    for kind, raw in (("attention", attention), ("gradcam", gradcam)):
        title = text(lang, f"what_if.{kind}", label=shown.target.label)
        alt = text(lang, "what_if.alt", map=title, block=where, name=name)
        drawn = panel(lang, square, raw, text(lang, "what_if.no_map") if raw is None else alt)
        named = f'<figcaption title="{escape(title)}">{escape(title)}</figcaption>'
        maps += f"<figure>{named}{drawn}</figure>"
    listed = bars(top, text(lang, "what_if.top", name=name), shown.target.index)
    heading = f"<h2>{escape(name)}</h2>"
    return f'<section class="{key}">{heading}{listed}<div class="pair">{maps}</div></section>'


def reading(lang: str, shown: Shown, after: Explanation, names: list[str], stage: str) -> list[str]:
    """In words: what became of the answer and of Grad-CAM, and what follows."""
    old, new = shown.top[0], after.prediction.top(1)[0]
    now = next(one for one in after.prediction if one.index == old.index)
    same = new.index == old.index
    told = {"label": old.label, "before": text_percent(old.probability)}
    if same:
        said = [text(lang, "what_if.stays", after=text_percent(now.probability), **told)]
    else:
        shares = {"other": new.label, "after": text_percent(new.probability)}
        said = [text(lang, "what_if.changes", **shares, **told)]
    before = torch.from_numpy(shown.places[stage].gradcam)
    rho = agreement(before, after.heatmaps[stage, "gradcam"].raw).spearman
    if math.isnan(rho):
        said.append(text(lang, "what_if.map_flat"))
    else:
        how = "same" if rho >= 0.9 else "moves" if rho >= 0.5 else "other"
        said.append(text(lang, f"what_if.map_{how}", rho=f"{rho:.2f}".replace("-", "−")))
    if names:
        named = [_layer(lang, name) for name in names]
        listed = text(lang, "language.list").join(named)
        if not math.isnan(rho):
            said.append(text(lang, "what_if.survives" if rho >= 0.9 else "what_if.depends"))
        said.append(text(lang, "what_if.untrained", names=listed))
    elif any(place.weighs for place in shown.places.values()):
        little = same and abs(now.probability - old.probability) < 0.05
        said.append(text(lang, "what_if.unused" if little else "what_if.used"))
    return said


def _layer(lang: str, name: str) -> str:
    if name.startswith("attention at "):
        return text(lang, "what_if.attention_at", stage=block(lang, name[13:]))
    return text(lang, "what_if.classifier") if name == "head" else name


def opened(
    networks: Networks,
    call: Call | None,
    replacement: str,
    count: int,
    stage: str,
    own: Owned = NOTHING,
) -> Any:
    """Another result: the stage to look at, how many layers there are, and the comparison."""
    if call is None:
        return (gr.skip(),) * 3
    with boundary(call.lang):
        most = len(explainer_of(networks, call.shown, own).model.parameter_groups())
        stage = stage_of(call.shown, known_stage(stage, call.lang))
        count = min(count, most) if isinstance(count, int) else 0
        told = compare(networks, call, replacement, count, stage, own)
        return stage, gr.update(maximum=most, value=count), told


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    call = shell.calls["what_if"] = gr.State(None)
    shell.line("what_if.line")

    def named(lang: str) -> dict[str, Any]:
        choices = [(text(lang, f"what_if.{key}"), key) for key in CHOICES]
        return {"choices": choices, "label": text(lang, "what_if.replacement")}

    with gr.Row(elem_classes="controls"):
        replacement = shell.labelled(
            gr.Radio(
                named("en")["choices"],
                value=LEARNED,
                elem_id="what-weights",
                elem_classes="segments",
            ),
            named,
        )
        count = shell.labelled(
            gr.Slider(0, MOST, 0, step=1, buttons=[], elem_id="what-layers"),
            label="what_if.layers",
        )
        stage = blocks(shell, "what-stage")
    told = html("", elem_id="what-if", elem_classes="told", min_height=560)
    how: dict[str, Any] = {
        "show_progress_on": told,
        "concurrency_id": "network",
        "trigger_mode": "always_last",
        "api_visibility": "private",
    }
    call.change(
        partial(opened, shell.networks),
        [call, replacement, count, shell.stage, shell.own],
        [stage, count, told],
        **how,
    )
    gr.on(
        [replacement.input, count.input, stage.input],
        partial(compare, shell.networks),
        [call, replacement, count, stage, shell.own],
        told,
        **how,
    )

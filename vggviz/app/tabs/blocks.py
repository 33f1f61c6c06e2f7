"""The tab 'All blocks': attention and CAMs at all five blocks, as one grid."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from vggviz import plotting as render
from vggviz.app.handlers import boundary
from vggviz.app.markup import method_explanation, method_title
from vggviz.app.networks import NOTHING, Networks, Owned
from vggviz.app.pictures import Shown
from vggviz.app.rerun import recall
from vggviz.app.shell import Shell
from vggviz.app.stages import STAGES
from vggviz.app.tabs.lazy import Call
from vggviz.app.tabs.panels import block, html, panel, shrink
from vggviz.cam import METHODS
from vggviz.explanation import Explanation
from vggviz.locales import text

NAME = "blocks.name"

FIRST = ("gradcam", "layercam")
TILE = 224  # pixels
SMALL = 128  # pixels of a side, up to which a network is small enough for methods of many passes


def possible(shown: Shown, methods: Sequence[str]) -> tuple[str, ...]:
    """The methods that this network can show, in the order of `METHODS`: those that need attention
    where it weighs places, those that need many passes where the network is small."""
    weighs = any(place.attention is not None for place in shown.places.values())
    small = len(shown.crop) <= SMALL
    return tuple(
        name
        for name in METHODS
        if name in methods
        and (weighs or METHODS[name].needs != "attention")
        and (small or not METHODS[name].slow)
    )


def explained(
    networks: Networks,
    shown: Shown,
    methods: Sequence[str],
    own: Owned = NOTHING,
    progress: Any = lambda done, total: None,
) -> Explanation:
    """All stages with these methods, of what is shown."""
    return recall(networks, shown, own, STAGES, possible(shown, methods), progress=progress)


def grid(
    networks: Networks,
    call: Call | None,
    methods: Sequence[str],
    own: Owned = NOTHING,
    progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio finds it by its default
) -> Any:
    """The grid as HTML: a row for attention and one for each method, a column a block."""
    if call is None:
        return gr.skip()
    with boundary(call.lang):
        shown, lang = call.shown, call.lang
        check = networks.patience(lang)

        def report(done: int, total: int) -> None:
            check(done, total)
            progress((done, total))

        return _grid(lang, shown, explained(networks, shown, methods, own, report), methods)


def _grid(lang: str, shown: Shown, found: Explanation, methods: Sequence[str]) -> str:
    square = shrink(shown.square, TILE)
    heads = "".join(f'<th scope="col">{escape(block(lang, stage))}</th>' for stage in STAGES)
    rows = [(text(lang, "blocks.attention"), [_attention(lang, square, shown, s) for s in STAGES])]
    for name in possible(shown, methods):
        tiles: list[str] = []
        for stage in STAGES:
            map = found.heatmaps.get((stage, name))
            where = block(lang, stage)
            alt = text(lang, "blocks.alt", name=method_title(lang, name), block=where)
            gone = text(lang, "blocks.unknown")
            tiles.append(
                panel(lang, square, map.raw.numpy(), alt)
                if map
                else panel(lang, square, None, gone)
            )
        rows.append((method_title(lang, name), tiles))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{t}</td>" for t in tiles)}</tr>'
        for name, tiles in rows
    )
    slow = [name for name in methods if METHODS[name].slow]
    left_out = [method_title(lang, name) for name in slow if name not in possible(shown, methods)]
    note = "".join(
        f'<p class="reading">{escape(text(lang, "blocks.slow", method=one))}</p>'
        for one in left_out
    )
    how = "".join(
        f'<p class="caption">{escape(method_title(lang, name))}: '
        f"{escape(method_explanation(lang, name))}</p>"
        for name in possible(shown, methods)
    )
    return (
        f'{note}<div class="wide" tabindex="0" role="region" '
        f'aria-label="{escape(text(lang, "blocks.grid"))}"><table class="grid">'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></div>{how}"
    )


def _attention(lang: str, square: Any, shown: Shown, stage: str) -> str:
    place = shown.places[stage]
    if place.attention is None:
        key = "blocks.channels" if place.channels is not None else "blocks.none"
        return panel(lang, square, None, text(lang, key))
    where = block(lang, stage)
    alt = text(lang, "blocks.alt", name=text(lang, "blocks.attention"), block=where)
    return panel(lang, square, place.attention, alt)


def download(
    networks: Networks, call: Call | None, methods: Sequence[str], own: Owned = NOTHING
) -> str:
    """The figure for a lecture as a data URI, and its file name, for the browser to save."""
    if call is None:
        return ""
    with boundary(call.lang):
        check = networks.patience(call.lang)
        figure = explained(networks, call.shown, methods, own, check).figure()
        coded = base64.b64encode(render.png(figure, dpi=110)).decode()
        return f"data:image/png;base64,{coded}"


def _choices(lang: str) -> dict[str, Any]:
    """The methods as a checkbox group's choices, and its label."""
    named = [(method_title(lang, key), key) for key in METHODS]
    return {"choices": named, "label": text(lang, "blocks.methods")}


def build(shell: Shell) -> None:
    """Lay the tab out and wire it up; called inside its `gr.Tab`."""
    call = shell.calls["blocks"] = gr.State(None)
    shell.line("blocks.line")
    with gr.Row(elem_classes="controls ends"):
        methods = shell.labelled(
            gr.CheckboxGroup(
                _choices("en")["choices"],
                value=list(FIRST),
                elem_id="blocks-methods",
                elem_classes="ticks",
            ),
            _choices,
        )
        save = shell.labelled(
            gr.Button(size="sm", elem_classes="act quiet", elem_id="blocks-save"),
            value="blocks.download",
        )
    told = html("", elem_id="blocks", elem_classes="told", min_height=700)
    saved = gr.Textbox(visible=False)
    how: dict[str, Any] = {"concurrency_id": "network", "api_visibility": "private"}
    gr.on(
        [call.change, methods.input],
        partial(grid, shell.networks),
        [call, methods, shell.own],
        told,
        trigger_mode="always_last",
        **how,
    )
    save.click(
        partial(download, shell.networks),
        [call, methods, shell.own],
        saved,
        show_progress_on=save,
        **how,
    ).success(None, saved, None, js=_SAVE)


_SAVE = """
(address) => {
  if (!address) return;
  const link = document.createElement("a");
  link.href = address;
  link.download = "vggviz-blocks.png";
  link.click();
}
"""

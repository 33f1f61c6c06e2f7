"""The tab 'All stages': attention and CAMs at all stages, as one grid."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from vggviz import plotting as render
from vggviz.app.markup import method_explanation, method_title, stage_title
from vggviz.app.session import Session, handler
from vggviz.app.shell import PRIVATE, Shell
from vggviz.app.tabs.panels import html, panel, shrink
from vggviz.cam import METHODS
from vggviz.explanation import Explanation

NAME = "blocks.name"

FIRST = ("gradcam", "layercam")
TILE = 224  # pixels
COLUMN = 158  # pixels, where there are more columns than the page is wide


@handler
def grid(
    session: Session,
    methods: Sequence[str],
    progress: gr.Progress = gr.Progress(),  # noqa: B008  # Gradio finds it by its default
) -> Any:
    """The grid as HTML: a row for attention and one for each method, a column for each stage."""
    chosen = session.current.available_methods(methods)
    explanation = session.explanation(None, chosen, progress=lambda *done: progress(done))
    return _grid(session, explanation, methods)


def _grid(session: Session, explanation: Explanation, methods: Sequence[str]) -> str:
    result, lang = session.current, session.lang
    square = shrink(result.square, TILE)
    chosen = result.available_methods(methods)
    titles = {stage: stage_title(lang, stage) for stage in result.stages}
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles.values())
    rows = [(session.text("blocks.attention"), [_attention(session, square, s) for s in titles])]
    for name in chosen:
        tiles: list[str] = []
        for stage, title in titles.items():
            heatmap = explanation.heatmaps.get((stage, name))
            alt = session.text("blocks.alt", name=method_title(lang, name), block=title)
            if heatmap is None:
                alt = session.text("blocks.unknown")
            tiles.append(panel(lang, square, heatmap.raw.numpy() if heatmap else None, alt))
        rows.append((method_title(lang, name), tiles))
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{t}</td>" for t in tiles)}</tr>'
        for name, tiles in rows
    )
    left_out = [
        method_title(lang, name) for name in methods if METHODS[name].slow and name not in chosen
    ]
    note = "".join(
        f'<p class="reading">{escape(session.text("blocks.slow", method=one))}</p>'
        for one in left_out
    )
    how = "".join(
        f'<p class="caption">{escape(method_title(lang, name))}: '
        f"{escape(method_explanation(lang, name))}</p>"
        for name in chosen
    )
    width = COLUMN * len(titles) if len(titles) > 5 else 0
    return (
        f'{note}<div class="wide" tabindex="0" role="region" '
        f'aria-label="{escape(session.text("blocks.grid"))}">'
        f'<table class="grid" style="--lines:{1 + len(titles)};min-width:max(720px,{width}px)">'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></div>{how}"
    )


def _attention(session: Session, square: Any, stage: str) -> str:
    stage_maps = session.current.stages[stage]
    if stage_maps.attention is None:
        key = "blocks.channels" if stage_maps.channels is not None else "blocks.none"
        return panel(session.lang, square, None, session.text(key))
    title, name = stage_title(session.lang, stage), session.text("blocks.attention")
    alt = session.text("blocks.alt", name=name, block=title)
    return panel(session.lang, square, stage_maps.attention, alt, stage_maps.kind)


@handler
def download(session: Session, methods: Sequence[str]) -> str:
    """The figure of all stages as the data URI of a PNG, for the browser to save."""
    explanation = session.explanation(None, session.current.available_methods(methods))
    figure = explanation.figure(lang=session.lang)
    coded = base64.b64encode(render.png(figure, dpi=110)).decode()
    return f"data:image/png;base64,{coded}"


def _labels(session: Session) -> dict[str, Any]:
    """The methods as a checkbox group's choices, and its label."""
    choices = [(method_title(session.lang, key), key) for key in METHODS]
    return {"choices": choices, "label": session.text("blocks.methods")}


def build(shell: Shell) -> None:
    """Lay the tab out and connect it; called inside its `gr.Tab`."""
    session = shell.sessions["blocks"] = gr.State(None)
    shell.line("blocks.line")
    with gr.Row(elem_classes="controls ends"):
        methods = shell.labelled(
            gr.CheckboxGroup(
                _labels(Session(shell.networks))["choices"],
                value=list(FIRST),
                elem_id="blocks-methods",
                elem_classes="ticks",
            ),
            _labels,
        )
        save = shell.labelled(
            gr.Button(size="sm", elem_classes="act quiet", elem_id="blocks-save"),
            value="blocks.download",
        )
    content = html("", elem_id="blocks", elem_classes="told", min_height=700)
    saved = gr.Textbox(visible=False)
    how: dict[str, Any] = {"concurrency_id": "network", **PRIVATE}
    gr.on(
        [session.change, methods.input],
        grid,
        [session, methods],
        content,
        trigger_mode="always_last",
        **how,
    )
    save.click(download, [session, methods], saved, show_progress_on=save, **how).success(
        None, saved, None, js=_SAVE
    )


_SAVE = """
(address) => {
  if (!address) return;
  const link = document.createElement("a");
  link.href = address;
  link.download = "vggviz-blocks.png";
  link.click();
}
"""

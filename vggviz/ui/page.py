"""The page: its parts, where they stand, and which event runs what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from gradio import themes
from PIL import Image

from vggviz import zoo
from vggviz.images import open_image
from vggviz.ui import handlers
from vggviz.ui.networks import Networks
from vggviz.ui.own import SIZE, Upload
from vggviz.ui.pictures import Choice, Given, Picture, data_uri, refusal
from vggviz.vgg import SITES

OPACITY = 0.55
HOUR = 3600

QUEUE: dict[str, Any] = {
    "max_size": 200,
    "default_concurrency_limit": 2,
    "status_update_rate": 5,  # not "auto", which tells everyone of every place in the queue
}
"""For `demo.queue`."""


class Example(NamedTuple):
    """A bundled picture: its file, what it shows, and a sentence on it."""

    file: Path
    label: str
    caption: str


def examples() -> list[Example]:
    """The bundled pictures."""
    folder = (zoo.assets() / "examples").resolve()
    listed = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    return [Example(folder / line["file"], line["label"], line["caption"]) for line in listed]


def build(networks: Networks | None = None) -> gr.Blocks:
    """The page, opened on the first example. It holds its networks, and no one's pictures."""
    networks = networks or Networks.bundled()
    pictures = examples()
    gr.set_static_paths([example.file for example in pictures])  # served where they lie
    weights = next(iter(networks.choices))
    attention = networks.choices[weights][0]
    explain = partial(handlers.explain, networks)
    opening = Given(open_image(pictures[0].file), str(pictures[0].file))
    site_first = handlers.start(networks.get(weights, attention))
    first = explain(opening, weights, attention, "", site_first, OPACITY)
    labels = networks.labels(weights, attention)

    with gr.Blocks(
        title="vggviz · what VGG19 looks at",
        analytics_enabled=False,
        delete_cache=(HOUR, HOUR),
        fill_width=True,
    ) as demo:
        shown = gr.State(first[1])
        own = gr.State({})
        _html(_HEADER, elem_id="head")
        with gr.Row(elem_id="page"):
            with gr.Column(elem_id="ask", min_width=0):
                picture = Picture(
                    str(pictures[0].file),
                    label="Picture",
                    show_label=False,
                    sources=["upload", "webcam", "clipboard"],
                    buttons=[],
                    height=304,
                    alt_text="The picture to explain",
                    elem_id="picture",
                )
                strip = _html(_strip(pictures), js_on_load=_PICK, elem_id="examples")
                with gr.Column(elem_id="choices", min_width=0):
                    with_weights = Choice(
                        handlers.weights_of(networks),
                        value=weights,
                        label="Network",
                        filterable=False,
                        elem_id="weights",
                    )
                    file = Upload(
                        "Open your own weights (.safetensors)",
                        file_types=[".safetensors"],
                        size="sm",
                        elem_id="own",
                    )
                    with_attention = Choice(
                        handlers.types_of(networks, weights),
                        value=attention,
                        label="Attention",
                        filterable=False,
                        elem_id="attention",
                    )
                    about = _html(first[5], elem_id="about")
                    target = Choice(
                        handlers.classes(labels),
                        value="",
                        label="Grad-CAM for the class",
                        elem_id="target",
                    )
            answer = _html(first[2], elem_id="answer")
            with gr.Column(elem_id="looks", min_width=0):
                with gr.Row(elem_id="view"):
                    site = gr.Radio(
                        [(f"Block {name[-1]}", name) for name in SITES],
                        value=site_first,
                        label="Where in the network",
                        elem_id="site",
                    )
                    opacity = gr.Slider(
                        0, 1, OPACITY, step=0.05, label="Opacity of the maps", elem_id="opacity"
                    )
                maps = _html(first[3], elem_id="maps")
                channels = _html(first[4], elem_id="channels")
        details = gr.JSON(visible=False)

        asked = [picture, with_weights, with_attention, target, site, opacity, shown, own]
        told = [details, shown, answer, maps, channels, about]
        run: dict[str, Any] = {
            "fn": explain,
            "inputs": asked,
            "outputs": told,
            "show_progress_on": [answer, maps, channels],
            "concurrency_id": "network",
            "trigger_mode": "always_last",
        }
        again: dict[str, Any] = {**run, "api_visibility": "private"}
        # A dropdown's `input` comes twice for a click, its `select` not at all for the Enter key.
        # `blur` comes once after either; where nothing was chosen, `shown` has the answer.
        ran = gr.on(
            [picture.input, with_attention.blur, target.blur],
            **run,
            api_name="explain",
            api_description="Explain a picture: prediction, attention and Grad-CAM, as JSON first.",
        )
        ran.failure(handlers.back, shown, picture, queue=False, api_visibility="private")
        with_weights.blur(
            partial(handlers.choose, networks),
            [with_weights, with_attention, target, shown, own],
            [with_attention, target],
            show_progress_on=[answer, maps, channels],
            concurrency_id="network",
            api_visibility="private",
        ).success(**again)
        file.upload(
            partial(handlers.open_own, networks),
            [file, picture, site, opacity, own],
            [own, with_weights, with_attention, target, site, *told],
            show_progress_on=[answer, maps, channels],
            concurrency_id="network",
            api_visibility="private",
        )

        def pick(event: gr.EventData) -> str:
            """The example that was clicked. The index comes from a browser: it may be anything."""
            index = event._data.get("index")
            if not isinstance(index, int) or not 0 <= index < len(pictures):
                raise refusal("There is no such example.")
            return str(pictures[index].file)

        strip.select(pick, None, picture, queue=False, api_visibility="private").success(**again)
        gr.on(
            [site.input, opacity.input],
            handlers.view,
            [shown, site, opacity],
            [maps, channels],
            queue=False,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )
    return demo


_html = partial(gr.HTML, apply_default_css=False)


def _strip(pictures: Sequence[Example]) -> str:
    buttons = "".join(
        f'<button type="button" data-index="{index}" title="{escape(example.caption)}" '
        f'aria-label="Example: {escape(example.caption)}">'
        f'<img src="{_thumbnail(example.file)}" width="96" height="96" alt=""></button>'
        for index, example in enumerate(pictures)
    )
    return f'<div role="group" aria-label="Examples">{buttons}</div>'


def _thumbnail(file: Path) -> str:
    image = open_image(file)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return data_uri(np.asarray(image.resize((96, 96), Image.Resampling.BICUBIC, box)), "webp")


_PICK = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-index]");
  if (button) trigger("select", {index: Number(button.dataset.index)});
});
"""

# Whoever goes to the list of classes can type a name at once, instead of deleting the last one.
_TYPE_OVER = """
for (const type of ["focusin", "click"]) document.addEventListener(type, (event) => {
  if (event.target.matches("#target input")) event.target.select();
});
"""

_HEADER = """
<header><h1>What does VGG19 look at?</h1>
<p>Its learned attention beside Grad-CAM, on a picture of yours.</p></header>
"""


def _theme() -> themes.Base:
    return themes.Base(
        primary_hue=themes.colors.teal,
        secondary_hue=themes.colors.teal,
        neutral_hue=themes.colors.stone,
        radius_size=themes.sizes.radius_md,
        font="sans-serif",  # the style sheet has the whole list: here each name would be quoted
        font_mono="monospace",
    ).set(
        body_background_fill="#fcfcfb",
        body_background_fill_dark="#171513",
        body_text_color="#1c1917",
        body_text_color_dark="#f2f0ee",
        body_text_color_subdued="#5f5a55",
        body_text_color_subdued_dark="#aaa49d",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1f1c1a",
        border_color_primary="#e5e3e0",
        border_color_primary_dark="#3a3632",
        block_background_fill="*background_fill_primary",
        block_shadow="none",
        input_background_fill="*background_fill_primary",
        input_background_fill_dark="*background_fill_primary",
        input_border_width="1px",
        input_border_color="*border_color_primary",
        input_border_color_focus="#0f766e",
        input_border_color_focus_dark="#2dd4bf",
        input_radius="10px",
        slider_color="#0f766e",
        slider_color_dark="#2dd4bf",
    )


# In the head, so that it is there before the first paint; Gradio's `css` comes after it, rewritten.
_STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")

LAUNCH: dict[str, Any] = {
    "theme": _theme(),
    "head": f"<style>{_STYLE}</style><script>{_TYPE_OVER}</script>",
    "footer_links": ["api", "settings"],
    "max_file_size": SIZE,  # that of weights; what a picture may take is for open_image to say
    "show_error": False,
    "run_history": False,
    "enable_monitoring": False,
    "state_session_capacity": 1000,
}
"""For `demo.launch`."""

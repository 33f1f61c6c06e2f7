"""The page's functions as a named API, for `gradio_client` and MCP: no state, no page.

Each takes a picture and plain texts and returns JSON. They share the page's networks and its queue,
and offer the shared networks only. Errors are in the language of the request's Accept-Language.
In the docstrings below, `{attention}` and `{methods}` stand for the keys of `ATTENTION` and
`METHODS`: they are filled in when the endpoints are registered.
"""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any

import gradio as gr
import torch

from vggviz import plotting as render
from vggviz.app.api_paint import paint
from vggviz.app.api_request import MAPS, check_texts, explanation_of, split_names
from vggviz.app.errors import sentence, user_error
from vggviz.app.inputs import Picture, UploadedPicture
from vggviz.app.json_output import JSONOutput
from vggviz.app.networks import Networks
from vggviz.app.session import Session, handler
from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.explainer import Explainer, Report
from vggviz.explanation import Explanation
from vggviz.gradio_private import is_mcp_call
from vggviz.locales import preferred_language
from vggviz.metrics import faithfulness as curves

__all__ = ["MAPS", "build", "explain", "faithfulness", "figure", "paint", "pixel"]


@handler
def explain(
    session: Session,
    image: UploadedPicture | None,
    weights: str = "everyday",
    attention: str = "cbam",
    stages: str = "all",
    methods: str = "gradcam",
    target: str = "",
) -> dict[str, Any]:
    """Explain a picture: the network's prediction, its attention and class activation maps.

    Gives the JSON that the command `vggviz explain` writes: target, top five classes, shape and
    raw range of every map by stage, and where all of it comes from. Errors are in English, or in
    Chinese where the request's Accept-Language says so.

    Args:
        image: The picture.
        weights: 'everyday' (trained, 84 classes) or 'random' (untrained, full size).
        attention: One of {attention}.
        stages: 'all' for block1 to block5, or names with commas: block4, conv5_4, pool5.
        methods: CAM methods with commas, of {methods}.
        target: A class as its label, index or WordNet id; empty for the predicted class.
    """
    return explanation_of(session, image, weights, attention, stages, methods, target).to_json()


@handler
def figure(
    session: Session,
    image: UploadedPicture | None,
    weights: str = "everyday",
    attention: str = "cbam",
    stages: str = "all",
    methods: str = "gradcam",
    target: str = "",
    format: str = "png",
) -> str:
    """Draw what a network sees in a picture as one figure: crop, prediction, attention and maps.

    Gives a data URI, base64 for 'png', 'svg' and 'html' (a one-page report) alike; nothing is
    kept on the server.

    Args:
        image: The picture.
        weights: 'everyday' (trained, 84 classes) or 'random' (untrained, full size).
        attention: One of {attention}.
        stages: 'all' for block1 to block5, or names with commas.
        methods: CAM methods with commas, of {methods}.
        target: A class as its label, index or WordNet id; empty for the predicted class.
        format: png, svg or html.
    """
    if format not in tuple(FIGURES):
        raise user_error(session.text("api.format", given=format, known=", ".join(FIGURES)))
    explanation = explanation_of(session, image, weights, attention, stages, methods, target)
    kind, draw = FIGURES[format]
    return f"data:{kind};base64,{base64.b64encode(draw(explanation, session.lang)).decode()}"


@handler
def pixel(
    session: Session,
    image: UploadedPicture | None,
    weights: str = "everyday",
    attention: str = "self_attention",
    stage: str = "block4",
    row: int = 0,
    column: int = 0,
    head: int = -1,
) -> dict[str, Any]:
    """Ask which positions of a picture one position attends to, in a network with self-attention.

    Gives the grid of query positions (rows, columns), the number of heads, and the map of the
    attention weights of this query: shares that sum to 1, row by row.

    Args:
        image: The picture.
        weights: 'everyday' (trained, 84 classes) or 'random' (untrained, full size).
        attention: self_attention, the one built-in type with a map for each position.
        stage: block4 or block5 for everyday.
        row: The query's row on the stage's grid, from 0 at the top.
        column: The query's column, from 0 at the left.
        head: One head, from 0; -1 for the mean over all heads.
    """
    explanation = explanation_of(session, image, weights, attention, stage, "", "")
    records = [one for one in explanation.attention.get(stage, ()) if one.kind == "token"]
    if not records:
        raise user_error(session.text("api.queries", stage=stage, attention=attention))
    if not all(isinstance(number, int) for number in (row, column, head)):
        raise user_error(session.text("api.whole"))
    one = None if head == -1 else head
    try:
        found = records[0].query(row, column, one)
    except IndexError as error:
        raise user_error(sentence(error, session.lang)) from error
    return {
        "stage": stage,
        "grid": list(records[0].grid),
        "heads": len(records[0].weights),
        "row": row,
        "column": column,
        "head": one,
        "map": found.tolist(),
    }


@handler
def faithfulness(
    session: Session,
    image: UploadedPicture | None,
    weights: str = "everyday",
    attention: str = "cbam",
    stage: str = "block5",
    method: str = "gradcam",
    target: str = "",
) -> dict[str, Any]:
    """Test whether a network needs what a map calls important: deletion and insertion curves.

    Gives, for the attention map where there is one, the CAM method and a random map: fractions of
    the pixels, the class's probability at each, and the area under the curve. A faithful map has
    a small area for deletion and a large one for insertion (Petsiuk et al. 2018, RISE).

    Args:
        image: The picture.
        weights: 'everyday' (trained, 84 classes) or 'random' (untrained, full size).
        attention: One of {attention}.
        stage: block1 to block5.
        method: One CAM method, of {methods}.
        target: A class as its label, index or WordNet id; empty for the predicted class.
    """
    check_texts(session, weights, attention, stage, method, target)
    explainer, methods = session.networks.get(weights or "", attention or ""), split_names(method)
    if stage not in explainer.model.stages or len(methods) != 1:
        stages = ", ".join(explainer.model.stages)
        raise user_error(session.text("api.one", stages=stages))
    (method,) = methods
    check = session.deadline()
    explanation = explanation_of(session, image, weights, attention, stage, method, target)
    if (stage, method) not in explanation.heatmaps:
        raise user_error(session.text("api.map", method=method, stage=stage, attention=attention))
    maps = {method: explanation.heatmaps[stage, method].raw}
    if (learned := explanation.spatial(stage)) is not None:
        maps = {"attention": learned, **maps}
    side = explanation.image.shape[:2]
    maps["random"] = torch.rand(side, generator=torch.Generator().manual_seed(0))
    return {
        "target": explanation.target._asdict(),
        "stage": stage,
        "curves": {
            name: _curves(session, explainer, map, explanation, check) for name, map in maps.items()
        },
    }


def _curves(
    session: Session,
    explainer: Explainer,
    map: torch.Tensor,
    explanation: Explanation,
    check: Report,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kinds: tuple[curves.Kind, ...] = ("deletion", "insertion")
    for kind in kinds:
        target = explanation.target.index
        points = session.curve(explainer, explanation.image, map, target, kind, check)
        fractions, scores = (list(values) for values in zip(*points, strict=True))
        area = float(curves.area(fractions, scores))
        found[kind] = {"fractions": fractions, "probabilities": scores, "area": area}
    return found


FIGURES: Mapping[str, tuple[str, Callable[[Explanation, str], bytes]]] = {
    "png": ("image/png", lambda explanation, lang: render.png(explanation.figure(lang=lang))),
    "svg": ("image/svg+xml", lambda explanation, lang: render.svg(explanation.figure(lang=lang))),
    "html": ("text/html", lambda explanation, lang: explanation.report(lang=lang).encode()),
}
"""The formats of `figure` by name: media type, and a function that returns the content."""


def build(networks: Networks) -> None:
    """Register the endpoints, on components that are invisible."""
    with gr.Row(visible=False):
        field = partial(gr.Textbox, visible=False)
        image = Picture(label="image")
        weights = field("everyday", label="weights")
        attention = field("cbam", label="attention")
        stages = field("all", label="stages")
        methods = field("gradcam", label="methods")
        target = field("", label="target")
        explanation = JSONOutput(label="explanation")
        format = field("png", label="format")
        figure_ = gr.Textbox(label="data URI")
        self_attention = field("self_attention", label="attention")
        stage = field("block4", label="stage")
        row, column = (gr.Number(0, precision=0, label=name) for name in ("row", "column"))
        head = gr.Number(-1, precision=0, label="head")
        last = field("block5", label="stage")
        method = field("gradcam", label="method")
        mask = gr.JSON(label="mask")
        common = [image, weights, attention, stages, methods, target]
        endpoints: list[tuple[Callable[..., Any], list[Any], Any]] = [
            (explain, common, explanation),
            (figure, [*common, format], figure_),
            (pixel, [image, weights, self_attention, stage, row, column, head], explanation),
            (faithfulness, [image, weights, attention, last, method, target], explanation),
            (paint, [image, weights, attention, stage, mask], explanation),
        ]
        for function, inputs, output in endpoints:
            endpoint = _endpoint(function, networks)
            gr.Button(visible=False).click(
                endpoint,
                inputs,
                output,
                api_name=function.__name__,
                api_description=endpoint.__doc__,
                concurrency_id="network",
            )


def _endpoint(function: Callable[..., Any], networks: Networks) -> Callable[..., Any]:
    """The function for Gradio: with the same name, a request in the place of the session, and the
    keys of `ATTENTION` and `METHODS` filled into its docstring."""

    @wraps(function)
    def call(*args: Any) -> Any:
        *inputs, request = args
        lang = preferred_language(None, request.headers.get("accept-language"))
        answer = function(Session(networks, lang=lang), *inputs)
        return (
            json.dumps(answer) if is_mcp_call(request) and not isinstance(answer, str) else answer
        )

    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
    _, *inputs = inspect.signature(function).parameters.values()
    call.__signature__ = inspect.Signature([*inputs, request])  # type: ignore[attr-defined]
    call.__doc__ = (function.__doc__ or "").format(
        attention=", ".join(("none", *ATTENTION)), methods=", ".join(METHODS)
    )
    call.__annotations__ = {**function.__annotations__, "request": gr.Request}
    return call

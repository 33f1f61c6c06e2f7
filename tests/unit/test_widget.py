"""The notebook widget without a browser: what it sends, and what its choices do."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

from vggviz import plotting
from vggviz.explainer import Explainer
from vggviz.files import assets_folder
from vggviz.locales import TEXTS
from vggviz.weights import bundled_types

pytest.importorskip("anywidget", reason="needs the extra 'notebook'")
KOALA = assets_folder() / "examples" / "koala.jpg"


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer.load("everyday", "cbam")


def pixels(uri: str) -> npt.NDArray[np.int64]:
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        return np.asarray(picture).astype(int)


def titles(widget: Any) -> list[str]:
    return [tile["title"] for tile in widget.view["tiles"]]


def test_it_shows_what_the_explainer_says(explainer: Explainer) -> None:
    widget = explainer.widget(KOALA)
    assert (widget.attention, widget.stage, widget.method) == ("cbam", "block4", "gradcam")
    found = explainer.explain(KOALA)
    view = widget.view
    assert [label for label, _, _ in view["top"]] == [one.label for one in found.prediction.top(5)]
    assert titles(widget) == ["channel attention", "spatial attention", "Grad-CAM: koala"]
    assert [key for key, _ in widget.options["attention"]] == list(bundled_types())
    heatmap = found.heatmaps["block4", "gradcam"]
    rgb = 255 * plotting.colours(plotting.resize(heatmap.values.numpy(), (80, 80)))
    # JPEG changes pixels a little, another map changes them a lot.
    assert abs(pixels(view["tiles"][2]["heat"]) - rgb).mean() < 2
    assert abs(pixels(view["tiles"][1]["heat"]) - rgb).mean() > 10
    assert abs(pixels(view["crop"]) - found.image.astype(int)).mean() < 5
    json.dumps(widget.get_state())


def test_each_choice_is_drawn_anew(explainer: Explainer) -> None:
    widget = explainer.widget(KOALA)
    before = widget.view
    widget.target = explainer.index("tabby")
    assert titles(widget)[-1] == "Grad-CAM: tabby"
    assert widget.view["tiles"][-1]["heat"] != before["tiles"][-1]["heat"]
    assert widget.view["tiles"][0] == before["tiles"][0]  # attention knows no class
    widget.method = "eigencam"
    assert titles(widget)[-1] == "Eigen-CAM"
    widget.stage = "block2"
    assert titles(widget) == ["Eigen-CAM"]
    assert widget.view["notes"] == ["No attention at Block 2."]
    widget.stage, widget.attention = "block5", "softmax"
    assert titles(widget) == ["pool attention", "Eigen-CAM"]
    assert widget.explanation.provenance["config"]["attention"] == "softmax"
    # What cannot be computed is a sentence; attention stays.
    widget.attention, widget.method = "se", "attention*gradient"
    assert titles(widget) == ["channel attention"]
    assert widget.view["notes"] == [
        "'attention*gradient' needs attention over positions at a wanted layer"
    ]
    for name in ("attention", "stage", "method", "target"):
        assert widget.view["of"][name] == getattr(widget, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [("stage", "block6"), ("method", "nope"), ("target", 84), ("target", -1), ("opacity", 1.5)],
)
def test_a_choice_that_there_is_not(explainer: Explainer, name: str, value: object) -> None:
    import traitlets

    widget = explainer.widget(KOALA)
    kept = getattr(widget, name)
    with pytest.raises(traitlets.TraitError, match=str(value)):
        setattr(widget, name, value)
    assert getattr(widget, name) == kept


def test_another_language(explainer: Explainer) -> None:
    widget = explainer.widget(KOALA, lang="zh")
    assert widget.texts["target"] == TEXTS["zh"]["widget.target"]
    assert dict(widget.options["stage"])["block4"] == "第 4 块"


def test_a_network_of_ones_own() -> None:
    """Its stages and classes, and no other types; nothing is loaded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(8, 2),
        )  # fmt: skip
    widget = Explainer.of(model, labels=["b<i>", "a"], size=64).widget(KOALA)
    assert widget.options["attention"] == [("none", "No attention")]
    assert widget.options["target"][1:] == [(1, "a"), (0, "b<i>")]
    widget.target = 0
    assert titles(widget) == ["Grad-CAM: b<i>"]


def test_a_notebook_that_does_not_run_shows_the_explanation(explainer: Explainer) -> None:
    widget = explainer.widget(KOALA)
    assert repr(widget) == f"<ExplanationWidget of {widget.explanation!r}>"
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "koala" in data["text/html"]
    assert "<script" not in data["text/html"]

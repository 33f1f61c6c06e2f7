"""An attention type or CAM method is one entry in a public dict: all else is derived from it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import gradio as gr
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from vggviz import ATTENTION, METHODS, AttentionType, Explainer, Explanation, Method
from vggviz.app import build
from vggviz.app.handlers import add_method, draw_maps, explain, merge_maps
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.session import Session
from vggviz.app.tabs import all_stages
from vggviz.cam import cams
from vggviz.cli import app
from vggviz.hooks.capture import capture
from vggviz.hooks.tap import Tap
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.weights import Card, assets_folder

KOALA = assets_folder() / "examples" / "koala.jpg"
GRADIENT, ACTIVATION, ATTENDING, PASSES = NEW = (
    "dummy-gradient",
    "dummy-activation",
    "dummy-attention",
    "dummy-passes",
)


class Sixteenth(nn.Module):
    """Weighs each position by a sixteenth of the sigmoid of its mean activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = Tap("spatial")

    def forward(self, x: Tensor) -> Tensor:
        weights = self.spatial(x.mean(1).sigmoid() / 16, (x.shape[2], x.shape[3]))
        return x * weights[:, None]


def on_attention(weights: Tensor, gradient: Tensor, kind: str, grid: tuple[int, int]) -> Tensor:
    assert kind == "spatial"
    assert weights.shape[-2:] == grid
    return (gradient.abs() + weights).reshape(*gradient.shape[:2], *grid)


def on_passes(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    activation: Tensor,
    targets: Tensor,
    *,
    progress: Callable[[int, int], None],
) -> Tensor:
    logits = predict(image[None])[0, targets]  # (T,)
    progress(1, 1)
    return activation.mean(0) * logits.exp()[:, None, None]


@pytest.fixture(autouse=True)
def dummies(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attention type more, and one CAM method more of each kind."""
    monkeypatch.setitem(ATTENTION, "sixteenth", AttentionType(
        Sixteenth, "Sixteenths", "Up to a sixteenth per place.", "Doe 2026", "As it stays.",
    ))  # fmt: skip
    functions: dict[str, Any] = {
        "gradient": lambda activation, gradient: (activation + gradient).amax(-3),
        "activation": lambda activation: activation.amax(-3),
        "attention": on_attention,
        "passes": on_passes,
    }
    for key, (needs, function) in zip(NEW, functions.items(), strict=True):
        title, line = f"Dummy on {needs}", f"What a dummy makes of {needs}."
        monkeypatch.setitem(METHODS, key, Method(needs, function, title, line))  # type: ignore[arg-type]


@pytest.fixture
def model(small_vgg: Callable[..., Network]) -> Network:
    """A small network with the new type of attention at the upper two stages."""
    network = small_vgg(attention="sixteenth", stages=("block4", "block5"), blend="replace")
    return network.eval()


@pytest.fixture
def networks(model: Network) -> Networks:
    card = Card("small", model.config, Preprocess(64, 64), tuple("abcdefghij"))
    return Networks({"small": ("sixteenth",)}, lambda *_: Explainer(model, card))


@pytest.fixture
def demo(networks: Networks) -> gr.Blocks:
    """The page, built where a loop runs: else Gradio makes one that it never closes."""

    async def built() -> gr.Blocks:
        return build(networks)

    return asyncio.run(built())


@pytest.fixture
def explanation(networks: Networks) -> Explanation:
    stages = ("block4", "block5")
    return networks.get("small", "sixteenth").explain(KOALA, stages, ("gradcam", *NEW))


def test_the_engine_computes_each_method_by_its_own_function(
    model: Network, pictures: Callable[..., Tensor]
) -> None:
    x, targets = pictures(2, 64), torch.tensor([1, 7])
    path, tap = model.path("block5"), "attention.block5.module.spatial"
    with capture(model, [path], graph=[path, tap]) as trace:
        logits = model(x)
    points = [trace.outputs[path], trace.taps[tap].weights]
    each = [
        torch.autograd.grad(logits[:, k].sum(), points, retain_graph=True) for k in targets.tolist()
    ]
    features, weights = (torch.stack(gradients) for gradients in zip(*each, strict=True))
    output, attention = (point.detach() for point in points)
    expected = {
        GRADIENT: (output + features).amax(2),
        ACTIVATION: output.amax(1).expand(2, -1, -1, -1),
        ATTENDING: weights.abs() + attention,
        PASSES: output.mean(1) * logits.detach()[:, targets].T.exp()[..., None, None],
    }
    built_in = ("gradcam", "eigencam", "attention*gradient", "scorecam")
    found = cams(model, x, [path], (*built_in, *NEW), targets).maps
    for ours, key in zip(built_in, NEW, strict=True):
        torch.testing.assert_close(found[path, key], expected[key], rtol=1e-4, atol=1e-6)
        assert not torch.allclose(found[path, key], found[path, ours])


def test_an_error_names_the_method_that_finds_no_attention(
    small_vgg: Callable[..., Network], pictures: Callable[..., Tensor]
) -> None:
    plain = small_vgg().eval()
    with pytest.raises(ValueError, match=f"'{ATTENDING}' needs attention over positions"):
        cams(plain, pictures(1, 32), [plain.path("block5")], (ATTENDING,))


@pytest.mark.parametrize("command", ["explain", "evaluate", "train", "compare"])
def test_the_help_of_the_command_line_lists_them(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert all(key in shown for key in ATTENTION)
    if command in ("explain", "evaluate"):
        assert all(key in shown for key in METHODS)
    assert "{attention}" not in shown
    assert "{methods}" not in shown


def test_the_page_lists_them(demo: gr.Blocks) -> None:
    parts = demo.config["components"]
    choices = {one["props"].get("elem_id"): one["props"].get("choices") for one in parts}
    titles = [(method.title, key) for key, method in METHODS.items()]
    assert choices["method"] == choices["blocks-methods"] == titles
    assert choices["attention"] == [("Sixteenths", "sixteenth")]


def test_the_schema_of_the_api_lists_them(demo: gr.Blocks) -> None:
    endpoints = demo.get_api_info()["named_endpoints"]
    for name in ("/explain", "/figure", "/faithfulness"):
        described = endpoints[name]["description"]
        assert ", ".join(("none", *ATTENTION)) in described
        assert ", ".join(METHODS) in described
        assert "{" not in described


@pytest.mark.parametrize("key", NEW)
def test_the_page_shows_what_a_new_method_computes(
    networks: Networks, explanation: Explanation, key: str
) -> None:
    picture = UploadedPicture(Image.open(KOALA).convert("RGB"), str(KOALA))
    request = ("small", "sixteenth", "", "")
    _, result, missing, _, about = explain(Session(networks), picture, *request, "block5", key)[:5]
    assert "Up to a sixteenth per place." in about
    assert missing == (result.request, "block5", key)
    session = Session(networks, result)
    found = merge_maps(session, add_method(session, missing))
    view = ("block5", key, "side", "crop", "inferno", "raw", "cam")
    maps, _ = draw_maps(Session(networks, found), *view)
    expected = explanation.heatmaps["block5", key].raw
    torch.testing.assert_close(torch.from_numpy(found.maps["block5", key, 0]), expected)
    grid = all_stages.grid(Session(networks, result), (key,))
    for part in (maps, grid):
        assert METHODS[key].title in part
        assert METHODS[key].explanation in part
    assert "Sixteenths" in maps


def test_reports_and_figures_name_them(explanation: Explanation) -> None:
    report = unescape(re.sub(r"<[^>]+>", " ", explanation.report()))
    figure = [text.get_text() for text in explanation.figure().texts]
    notebook = unescape(explanation._repr_html_())
    assert "Sixteenths: Up to a sixteenth per place." in report
    for key in NEW:
        assert METHODS[key].title in figure
        assert METHODS[key].title in report
        assert METHODS[key].title in notebook
        assert METHODS[key].explanation in report
    chinese = explanation.report(lang="zh")
    assert METHODS[GRADIENT].title in chinese
    assert METHODS[GRADIENT].explanation in chinese  # English where there is no Chinese

"""What a notebook shows: one line as text, a picture as HTML, in a real kernel as well."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image

from vggviz.explainer import Explainer
from vggviz.explanation import Explanation
from vggviz.files import assets_folder
from vggviz.plotting.scale import colour_scale
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked

KOALA = assets_folder() / "examples" / "koala.jpg"
WILD = '<script>alert("1")</script>\n\x1b[31m'


class Parts(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.said += f"{data}\n"

    def pictures(self) -> list[np.ndarray[Any, Any]]:
        uris = [attrs["src"] for tag, attrs in self.tags if tag == "img"]
        files = [io.BytesIO(base64.b64decode(uri.partition(",")[2])) for uri in uris]
        return [np.asarray(Image.open(file)) for file in files]


def alone(html: str) -> Parts:
    """The parts of HTML that has no script, no style sheet and nothing to fetch."""
    parts = Parts(html)
    assert not {tag for tag, _ in parts.tags} & {"script", "style", "link", "iframe", "object"}
    for _, attrs in parts.tags:
        assert not [name for name in attrs if name.startswith("on") or name == "href"]
        assert attrs.get("src", "data:image/").startswith("data:image/")
    return parts


def prediction(label: str = "cat") -> Prediction:
    ranked = tuple(Ranked(i, f"{label}{i}", p) for i, p in enumerate((0.5, 0.25, 0.125, 0.125)))
    return Prediction(torch.zeros(4), ranked)


def test_a_prediction() -> None:
    found = prediction()
    assert repr(found) == "<Prediction 'cat0' 50.0%, 'cat1' 25.0%, 'cat2' 12.5%; 4 classes>"
    said = alone(found._repr_html_()).said.split()
    assert said == ["cat0", "50.0%", "cat1", "25.0%", "cat2", "12.5%", "cat3", "12.5%"]
    wild = prediction(WILD)
    assert repr(wild).isprintable()
    assert WILD in alone(wild._repr_html_()).said


def test_a_heatmap_is_shown_in_its_colours() -> None:
    values = torch.tensor([[0.0, 0.25], [0.5, 1.0]])
    found = Heatmap(values, "gradcam", "block5", 3, -0.5, 12.5)
    assert repr(found) == "<Heatmap gradcam 2×2 at 'block5', class 3: -0.5 to 12.5>"
    (shown,) = alone(found._repr_html_()).pictures()
    expected = colormaps["inferno"](values.numpy(), bytes=True)[..., :3]
    np.testing.assert_array_equal(shown, expected)
    assert "colours from -0.5 to 12.5" in alone(found._repr_html_()).said


def test_a_nearly_flat_map_looks_nearly_flat() -> None:
    """As on the page: colours go from 0 to the largest value, of gates to 1."""
    values = torch.tensor([[0.0, 1.0]])
    shown = {}
    for name, found, share in (
        ("map", Heatmap(values, "gradcam", "block5", 3, 9.5, 10.0), [0.95, 1]),
        ("gates", AttentionRecord("b", "spatial", 0.4 + 0.02 * values, (1, 2)), [0.4, 0.42]),
        ("shares", AttentionRecord("b", "pool", torch.tensor([0.45, 0.55]), (1, 2)), [9 / 11, 1]),
    ):
        (shown[name],) = alone(found._repr_html_()).pictures()
        raw = found.raw if isinstance(found, Heatmap) else found.spatial
        kind = None if isinstance(found, Heatmap) else found.kind
        assert raw is not None
        on_the_page = colour_scale(raw.numpy(), "raw", kind).unit(raw.numpy())
        np.testing.assert_allclose(on_the_page, [share], atol=1e-6)
        expected = colormaps["inferno"](np.array([share]), bytes=True)[..., :3]
        np.testing.assert_allclose(shown[name].astype(int), expected, atol=3)


@pytest.mark.parametrize(
    ("kind", "shape", "text"),
    [
        ("channel", (6,), "channel 6"),
        ("spatial", (2, 3), "spatial 2×3"),
        ("volume", (4, 2, 3), "volume 4×2×3"),
        ("token", (2, 6, 6), "token 2×6×6"),
        ("pool", (6,), "pool 6"),
    ],
)
def test_attention(kind: Any, shape: tuple[int, ...], text: str) -> None:
    weights = torch.linspace(0.2, 0.8, 6).expand(*shape[:-1], 6) if shape[-1] == 6 else (
        torch.linspace(0.2, 0.8, 6).reshape(2, 3).expand(shape)
    )  # fmt: skip
    found = AttentionRecord("block4", kind, weights, (2, 3), (2, 3) if kind == "token" else None)
    assert repr(found) == f"<AttentionRecord {text} at 'block4': 0.2 to 0.8>"
    (shown,) = alone(found._repr_html_()).pictures()
    top = 1 if kind in ("channel", "spatial", "volume") else 0.8
    share = np.linspace(0.2 / top, 0.8 / top, 6, dtype=np.float32)
    expected = colormaps["inferno"](share, bytes=True)[:, :3]
    np.testing.assert_allclose(shown.reshape(6, 3).astype(int), expected, atol=3)


def test_attention_that_is_no_number_or_all_alike_is_shown_too() -> None:
    for weights in (torch.full((2, 3), float("nan")), torch.ones(2, 3)):
        found = AttentionRecord("block4", "spatial", weights, (2, 3))
        assert len(alone(found._repr_html_()).pictures()) == 1


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return Explainer.load("everyday", "cbam").explain(KOALA, methods=("gradcam", "eigencam"))


def test_an_explanation(explanation: Explanation) -> None:
    label, share = explanation.target.label, explanation.target.probability
    assert repr(explanation) == (
        f"<Explanation 'everyday' cbam: {label!r} {share:.1%}, gradcam, eigencam at 5 stages>"
    )
    html = explanation._repr_html_()
    assert len(html) < 200_000
    parts = alone(html)
    assert len(parts.pictures()) == 1 + 2 + 5 + 5
    assert len([tag for tag, _ in parts.tags if tag == "svg"]) == 2
    for one in explanation.prediction.top(5):
        assert one.label in parts.said
    for stage in ("block1 80×80", "block5 5×5"):
        assert stage in parts.said


def test_in_a_fresh_kernel_all_are_pictures() -> None:
    manager = pytest.importorskip("jupyter_client.manager", reason="needs ipykernel")
    pytest.importorskip("ipykernel")
    kernel, client = manager.start_new_kernel(kernel_name="python3")
    shown: list[dict[str, str]] = []

    def keep(message: dict[str, Any]) -> None:
        assert message["msg_type"] not in ("error", "stream"), message["content"]
        if message["msg_type"] in ("display_data", "execute_result"):
            shown.append(message["content"]["data"])

    try:
        for cell in (
            f"import vggviz\nfound = vggviz.Explainer.load().explain({str(KOALA)!r})\nfound",
            "found.prediction",
            "found.attention['block5'][1]",
            "found.heatmaps['block5', 'gradcam']",
            "import sys\nassert 'matplotlib.pyplot' not in sys.modules\nfound.figure()",
        ):
            client.execute_interactive(cell, output_hook=keep, timeout=300)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    *results, figure = shown
    assert len(results) == 4
    for data in results:
        assert re.fullmatch(r"<\w+ .*>", data["text/plain"])
        alone(data["text/html"])
    with Image.open(io.BytesIO(base64.b64decode(figure["image/png"]))) as picture:
        assert min(picture.size) > 300

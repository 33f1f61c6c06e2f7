"""The page to take home: whole, in its language, one page long, and with no way out."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vggviz import plotting as render
from vggviz.explainer import Explainer
from vggviz.explanation import Explanation
from vggviz.images import Crop
from vggviz.locales import TEXTS, section
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked
from vggviz.weights import assets_folder

EXAMPLES = assets_folder() / "examples"
EN, ZH = section("en", "report"), section("zh", "report")
PROVENANCE: dict[str, Any] = {
    "weights": "small",
    "config": {"attention": "cbam", "architecture": "vgg16_bn"},
    "trained": "all",
    "gamma": {"block5": -0.25},
    "versions": {"vggviz": "1", "torch": "2", "torchvision": "3"},
    "fingerprint": "abc",
}


class Parts(HTMLParser):
    """Every tag with its attributes, and all text outside the style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.said += f"{data}\n"

    def pictures(self) -> list[np.ndarray[Any, Any]]:
        uris = [attrs["src"] for tag, attrs in self.tags if tag == "img"]
        assert all(uri.startswith("data:image/") for uri in uris)
        files = [io.BytesIO(base64.b64decode(uri.partition(",")[2])) for uri in uris]
        return [np.asarray(Image.open(file).convert("RGB"), dtype=float) for file in files]


def made(labels: tuple[str, ...] = ("cat", "dog"), **changes: Any) -> str:
    """A report on made-up numbers."""
    ranked = tuple(Ranked(i, label, 1 / len(labels)) for i, label in enumerate(labels))
    weights = torch.linspace(0.25, 0.75, 16)
    ramp = torch.linspace(0, 1, 16).reshape(4, 4)
    given: dict[str, Any] = {
        "image": np.full((32, 32, 3), 128, np.uint8),
        "crop": Crop(0, 0, 32, 32, 32, 32),
        "prediction": Prediction(torch.zeros(len(labels)), ranked),
        "attention": {"block5": (AttentionRecord("block5", "channel", weights, (4, 4)),)},
        "heatmaps": {("block5", "gradcam"): Heatmap(ramp, "gradcam", "block5", 0, -0.5, 12.5)},
        "target": ranked[-1],
        "provenance": PROVENANCE,
    }
    options = {key: changes.pop(key) for key in ("title", "link", "lang") if key in changes}
    return Explanation(**{**given, **changes}).report(**options)


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return Explainer.load("everyday", "cbam").explain(EXAMPLES / "koala.jpg")


def test_every_number_and_picture_is_there(explanation: Explanation) -> None:
    parts = Parts(explanation.report())
    for ranked in explanation.prediction.top(5):
        assert f"{ranked.label}\n" in parts.said
        assert f"{ranked.probability:.1%}" in parts.said
    crop, *drawn = parts.pictures()
    spatial = {stage: records[1] for stage, records in explanation.attention.items()}
    assert len(drawn) == len(spatial) + 5
    charts = [attrs["aria-label"] for tag, attrs in parts.tags if tag == "svg"]
    assert len(charts) == len(spatial)
    small = Image.fromarray(crop.astype(np.uint8)).resize((80, 80), Image.Resampling.BOX)
    assert np.abs(np.asarray(small, dtype=float) - explanation.image).mean() < 6
    wanted = render.overlay(crop.astype(np.uint8), spatial["block5"].weights.numpy())
    assert np.abs(drawn[1] - wanted).mean() < 2  # a JPEG's error
    names = [attrs["alt"] for tag, attrs in parts.tags if tag == "img"]
    assert names[2].startswith("Spatial attention, Block 5: ")
    assert names[-1].startswith(f"Grad-CAM for {explanation.target.label}, Block 5: ")
    assert explanation.provenance["fingerprint"] in parts.said


def test_raw_ranges_and_shares() -> None:
    said = Parts(made()).said.split("\n")
    assert {"−0.500", "12.5", "0.250 … 0.750"} <= set(said)
    assert any("γ = −0.25" in line for line in said)


def test_a_chart_runs_from_the_highest_weight_down() -> None:
    drawn = next(attrs for tag, attrs in Parts(made()).tags if tag == "path")["d"]
    heights = [100 - float(value) for value in re.findall(r"V([\d.]+)H", drawn)]
    assert heights == pytest.approx(np.linspace(75, 25, 16), abs=0.01)


def test_labels_title_and_link_are_text() -> None:
    evil = '<script>alert("1")</script>'
    page = made((evil, "b"), title=evil, link=f"https://x/?a=1&b={evil}", target=Ranked(0, evil, 1))
    parts = Parts(page)
    assert not any(tag == "script" for tag, _ in parts.tags)
    assert parts.said.count(evil) >= 4
    assert not any("href" in attrs for _, attrs in Parts(made(link="javascript:alert(1)")).tags)


def test_what_was_not_learned_is_said() -> None:
    page = made(provenance={**PROVENANCE, "trained": "nothing"})
    note = EN["nothing"].capitalize()
    assert note in Parts(page).said
    assert note not in Parts(made()).said


def test_a_flat_and_a_narrow_map() -> None:
    flat = Heatmap(torch.zeros(4, 4), "eigencam", "block5", None, 0.5, 0.5)
    near = Heatmap(torch.eye(4), "gradcam", "block4", 0, 0.5, 0.501)
    maps = {("block5", "eigencam"): flat, ("block4", "gradcam"): near}
    parts = Parts(made(attention={}, heatmaps=maps))
    assert "The same everywhere: 0.500" in parts.said
    assert "knows no class" in parts.said
    assert "Nearly the same everywhere: 0.20% of the range of the colours." in parts.said
    assert len(parts.pictures()) == 2  # the crop and the map that is not flat


def test_the_target_beyond_the_top_five_is_there_with_its_rank() -> None:
    labels = tuple("abcdefg")
    said = Parts(made(labels)).said
    assert "no. 7, the class explained" in said
    assert "f\n" not in said


def test_a_report_in_chinese() -> None:
    page = made(lang="zh", provenance={**PROVENANCE, "trained": "nothing"})
    chinese = Parts(page)
    assert chinese.tags[0] == ("html", {"lang": "zh-Hans"})
    assert ZH["read_cam"] in chinese.said
    assert ZH["nothing"] in chinese.said
    for key in ("method.gradcam.line", "attention.cbam.line"):
        assert TEXTS["zh"][key] in chinese.said
    assert "VGG16 · small" in chinese.said
    for text in EN.values():
        assert "{" in text or len(text) < 12 or text not in chinese.said


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_in_a_browser_it_fetches_nothing_and_prints_on_one_page(
    explanation: Explanation, browser: Any, tmp_path: Path, lang: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(explanation.report(lang=lang, link="https://example.org/?a=1"), "utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    asked: list[str] = []
    troubles: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: troubles.append(message.text))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    printed = page.pdf(prefer_css_page_size=True)
    page.close()
    assert [url for url in asked if not url.startswith(("data:", file.as_uri()))] == []
    assert troubles == []
    assert len(re.findall(rb"/Type /Page\b", printed)) == 1

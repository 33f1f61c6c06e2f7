"""Weights of one's own, opened in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from page import ANSWER, CHANNELS, MAPS, OPENING, changes, choose, says

from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.weights import Card, bundled_types, save_network

OWN = "Open your own weights (.safetensors)"
LABELS = ("<img src=x onerror=alert(1)>", "cup & saucer", "ladder")


@pytest.fixture
def own(small_vgg: Callable[..., Network], tmp_path: Path) -> Path:
    """A small network of three classes, its attention at one block, in a file."""
    model = small_vgg(attention="se", stages=("block5",), architecture="vgg19_bn", num_classes=3)
    with torch.no_grad():
        model.get_parameter("classifier.0.bias")[0] += 500  # so that this class is predicted
    file = tmp_path / "mine.safetensors"
    save_network(model, Card("", model.config, Preprocess(64, 64), LABELS), file)
    return file


def open_weights(page: Any, file: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=OWN).click()
    chooser.value.set_files(file)


def options(page: Any, dropdown: str) -> list[str]:
    page.locator(f"{dropdown} input").click()
    page.locator(f"{dropdown} [role=option]").first.wait_for()
    listed = page.locator(f"{dropdown} [role=option]").all_inner_texts()
    page.locator(f"{dropdown} input").blur()
    page.get_by_role("option").first.wait_for(state="hidden")
    return [text.replace("✓", "").strip() for text in listed]


def test_ones_own_weights(visit: Callable[..., Any], own: Path) -> None:
    """They open, are chosen, and explain; labels are text; no one else has them."""
    page, other = visit(), visit()
    explained = Explainer.load(own).explain(OPENING)
    changes(page, ANSWER, lambda: open_weights(page, own))
    says(page, explained.prediction.top(5))
    page.get_by_test_id("toast-body").filter(has_text="mine: 3 classes is open.").wait_for()
    assert page.locator("#weights input").input_value() == "mine: 3 classes"
    assert page.locator("#attention input").input_value() == "Squeeze-and-excitation"
    assert page.locator("#stage input:checked").input_value() == "block5"
    assert "This attention weighs channels" in page.locator("#maps").inner_text()
    assert "γ = 0.60" in page.locator("#maps").inner_text()
    assert set(options(page, "#target")) == {"The predicted class", *LABELS}
    assert options(page, "#attention") == ["Squeeze-and-excitation"]
    gradcam = page.locator("#maps h2").nth(2)
    assert explained.target.label == LABELS[0]
    assert gradcam.inner_text() == f"Grad-CAM for {LABELS[0]}"
    changes(page, MAPS, lambda: choose(page, "#target", LABELS[1]))
    assert gradcam.inner_text() == f"Grad-CAM for {LABELS[1]}"
    assert page.locator("img[src=x]").count() == 0

    assert options(page, "#weights")[-1] == "mine: 3 classes"
    assert not any("mine" in name for name in options(other, "#weights"))
    changes(page, ANSWER, lambda: choose(page, "#weights", "everyday: trained, 84 classes"))
    assert len(options(page, "#attention")) == len(bundled_types())
    changes(page, ANSWER, lambda: choose(page, "#weights", "mine: 3 classes"))
    says(page, explained.prediction.top(5))


def test_weights_that_cannot_be_used_are_a_toast(
    visit: Callable[..., Any], own: Path, tmp_path: Path
) -> None:
    page = visit()
    kept = {part: page.locator(part).inner_html() for part in (ANSWER, MAPS, CHANNELS)}
    cut, large, model = (
        tmp_path / name for name in ("cut <b>.safetensors", "large.safetensors", "model.pth")
    )
    cut.write_bytes(own.read_bytes()[:-100])
    with large.open("wb") as opened:
        opened.truncate((24 << 20) + 1)
    model.write_bytes(b"no weights")
    toast = page.get_by_test_id("toast-body")
    for file, said in (
        (cut, "is not a whole safetensors file"),
        (large, "maximum allowed size of 24.0 MB"),
        (model, "safetensors"),
    ):
        open_weights(page, file)
        toast.filter(has_text=said).wait_for()
        assert str(tmp_path) not in toast.inner_text()
        assert "uploads" not in toast.inner_text()
        page.get_by_test_id("toast-close").click()
        toast.wait_for(state="hidden")
        assert {part: page.locator(part).inner_html() for part in kept} == kept
    assert page.locator("#weights input").input_value() == "everyday: trained, 84 classes"
    assert page.locator("#page .error:visible").count() == 0
    changes(page, ANSWER, lambda: open_weights(page, own))

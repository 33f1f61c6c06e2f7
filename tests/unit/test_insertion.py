"""Attention taught without labels in networks that vggviz did not build."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from pictures import write_squares
from torch import Tensor, nn
from typer.testing import CliRunner

from vggviz import Explainer, find_attention
from vggviz.cli import app
from vggviz.images import Preprocess
from vggviz.networks import CutNetwork, ForeignNetwork, NetworkError, insert_attention
from vggviz.weights import Card, WeightsError, load_network, read_card, save_network
from vggviz.weights.network_card import load_foreign

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
CODE = '''
import torch
from torch import nn

class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(x + self.conv(self.relu(x.clone())))

class Net(nn.Module):
    """Skips, modules that run twice, work in place, and a `view` that needs the usual layout."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8))
        self.twice = nn.ReLU()
        self.layer1 = Residual(8)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.layer2 = nn.Sequential(Residual(16), Residual(16))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(64, 5)

    def forward(self, x):
        x = self.twice(self.twice(self.stem(x)))
        x = self.layer2(self.down(self.layer1(x)))
        x = torch.relu_(x)
        return self.fc(self.pool(x).view(len(x), -1))

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.layer(self.patches(x).flatten(2).mT).mean(1))

def build():
    torch.manual_seed(3)
    network = Net()
    nn.init.normal_(network.fc.weight)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network
'''


@pytest.fixture
def code(tmp_path: Path) -> Path:
    file = tmp_path / "mynet.py"
    file.write_text(CODE)
    return file


def foreign(code: Path, name: str = "build") -> ForeignNetwork:
    with torch.random.fork_rng():
        return load_foreign(f"{code}:{name}", size=32)[0].requires_grad_(False)


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["cbam", "softmax"])
def test_a_pass_from_the_middle_is_that_of_the_whole_network(
    attention: str, code: Path, untouched: Untouched
) -> None:
    """Against a copy in which the modules are replaced for good."""
    network, x = foreign(code), pictures(3)
    generator = torch.Generator().manual_seed(5)
    model = CutNetwork(network, "n", 32, attention, ("layer2.0", "layer1"), generator).eval()
    assert model.stages == ("layer1", "layer2/0")
    assert model.channels == {"layer1": 8, "layer2/0": 16}
    inserted = deepcopy(network._network)
    insert_attention(
        inserted, {s.replace("/", "."): deepcopy(model.attention[s]) for s in model.stages}
    )
    with torch.no_grad(), untouched(model):
        plain = network(x)
        logits = inserted.eval()(x)
        assert (logits - plain).abs().max() > 0.1
        close(model(x), logits)
        with model.bypass():
            close(model(x), plain)
        first, second = (inserted.get_submodule(s) for s in ("layer1", "layer2.0"))
        stem = torch.relu(inserted.stem(x))  # type: ignore[operator]
        at_first = first.module(stem.clone())  # type: ignore[operator]
        close(model.features_before(x, "layer1"), at_first)
        into = inserted.down(first.attention(at_first))  # type: ignore[operator]
        at_second = second.module(into.clone())  # type: ignore[operator]
        close(model.features_before(x, "layer2/0"), at_second)
        close(model.features_before(at_first, "layer2/0", "layer1"), at_second)
        close(model(at_first, "layer1"), logits)
        close(model(at_second, "layer2/0"), logits)
        close(model.logits_after(first.attention(at_first), "layer1"), logits)  # type: ignore[operator]
        with model.bypass():
            close(model(at_first, "layer1"), plain)
    found = [record.kind for record in find_attention(inserted, x[:1])]
    assert found == (["channel", "spatial"] * 2 if attention == "cbam" else ["pool"] * 2)


def test_work_in_place_behind_a_cut_leaves_the_features(code: Path) -> None:
    model = CutNetwork(foreign(code), "n", 32, "se", ["layer2"]).eval()
    features = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(2))
    before = features.clone()
    with torch.no_grad(), model.bypass():
        model(features, "layer2")
        model.logits_after(features, "layer2")
    assert torch.equal(features, before)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("layer1.conv", "attention can't be taught behind 'layer1.conv'"),  # a skip leads around it
        ("layer1.relu", "runs once"),
        ("twice", "runs once"),  # and would give the same if it ran once
        ("fc", r"\(B, C, H, W\)"),
        ("layer3", "no layer 'layer3'"),
    ],
)
def test_where_a_network_cannot_be_cut(path: str, error: str, code: Path) -> None:
    with pytest.raises(ValueError, match=error):
        CutNetwork(foreign(code), "n", 32, "cbam", [path])


def test_the_default_places(code: Path) -> None:
    assert CutNetwork(foreign(code), "n", 32, "se").stages == ("layer1", "layer2")
    with pytest.raises(NetworkError, match="its last features are no maps"):
        CutNetwork(foreign(code, "Tokens"), "n", 32, "se")
    resnet = load_foreign("torchvision:resnet18", size=64)[0]
    assert CutNetwork(resnet, "n", 64, "se").stages == ("layer3", "layer4")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_squares(tmp_path / "photos")


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, " ".join(result.output.split())


def test_from_photographs_to_a_picture(photos: Path, code: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    network, out = f"{code}:build", tmp_path / "mine.safetensors"
    teach = ("train", "--data", photos, "--unlabelled", "--network", network, "--size", 32)
    teach += ("--attention", "cbam", "--out", out, "--epochs", 2, "--batch", 8, "--views", 1)
    status, said = run(*teach)
    assert status == 0, said
    assert "mine.safetensors: agreement" in said
    assert "not measured by vggviz's authors" in said
    assert f"--adapter {out}" in said
    card = read_card(out, foreign=True)
    assert (card.config.architecture, card.config.stages) == (
        "mynet.py:build",
        ("layer1", "layer2"),
    )
    assert out.stat().st_size < 40_000

    plain = Explainer.load(network, size=32)
    taught = Explainer.load(network, adapter=out)
    assert taught.preprocess.size == 32
    assert taught.card.unmeasured
    attention = taught.explain(photos / "3.png", methods=()).attention
    kinds = [record.kind for records in attention.values() for record in records]
    assert kinds == ["channel", "spatial"] * 2
    x = pictures(4)
    state, trained = plain.model.state_dict(), taught.model.state_dict()
    for name, value in state.items():
        assert any(torch.equal(value, other) for other in trained.values()), name
    inside, outside = taught.model(x), plain.model(x)
    assert (inside - outside).abs().max() > 1e-3

    explain = ("explain", photos / "3.png", "--network", network, "--formats", "png")
    assert run(*explain, "--adapter", out, "--out", tmp_path / "shown")[0] == 0
    assert (tmp_path / "shown" / "3.png").stat().st_size > 10_000
    with pytest.raises(WeightsError, match=r"give it as --adapter beside that --network"):
        load_network(out)
    model, own = load_network("random", "none", width=0.125, head="gap", num_classes=2)
    other = tmp_path / "other.safetensors"
    save_network(model, Card("other", own.config, Preprocess(64, 64), ("a", "b")), other)
    with pytest.raises(WeightsError, match="give it as --weights"):
        Explainer.load(network, adapter=other)
    code.write_text(CODE.replace("manual_seed(3)", "manual_seed(4)"))
    with pytest.raises(WeightsError, match=r"trained on another copy of mynet\.py:build"):
        Explainer.load(network, adapter=out)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--network", "torchvision:resnet18"], "has random weights, whose answers teach nothing"),
        (["--network", "timm:resnet18", "--stages", "layer4"], "add --pretrained or --checkpoint"),
        (["--weights", "everyday", "--size", "64"], "--size can't be given with 'everyday'"),
    ],
)
def test_what_is_no_start(more: list[str], words: str, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    pytest.importorskip("timm")
    out = tmp_path / "x.safetensors"
    status, said = run("train", "--data", photos, "--unlabelled", "--out", out, *more)
    assert status != 0
    assert words in said


def test_the_size_of_another_network_is_told_once(photos: Path, code: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    command = ["train", "--data", photos, "--unlabelled", "--out", tmp_path / "x.safetensors"]
    network = ["--network", f"{code}:build", "--size", "64", "--image-sizes", "32"]
    status, said = run(*command, *network)
    assert status != 0
    assert "have 64 pixels: another size is given by --size, not by --image-sizes" in said


def test_labels_train_other_networks(photos: Path, code: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    (photos / "a").mkdir()
    (photos / "b").mkdir()
    for number, file in enumerate(sorted(photos.glob("*.png"))):
        file.rename(photos / "ab"[number % 2] / file.name)
    out = tmp_path / "x.safetensors"
    status, said = run("train", "--data", photos, "--network", f"{code}:build", "--out", out)
    assert status != 0
    assert "add --unlabelled" in said

"""Attention from a Python file or a package, without taps: found, trained, shown, not uploaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from vggviz import ATTENTION, Explainer, load_attention
from vggviz.app.networks import Networks
from vggviz.app.own import OwnNetwork
from vggviz.attention.named import attention_names
from vggviz.cam import cams
from vggviz.cli import app
from vggviz.hooks.capture import capture, intervene
from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.server import Settings, page
from vggviz.types import Error
from vggviz.weights import Card, WeightsError, load_network, save_network

CODE = '''
import torch
from torch import nn


class Mine(nn.Module):
    """A gate of channels, then one of places, and no tap."""

    def __init__(self, channels):
        super().__init__()
        self.channel = nn.Sequential(
            nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels), nn.Sigmoid()
        )
        self.place = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        x = x * self.channel(x.mean((2, 3)))[:, :, None, None]
        return x * torch.sigmoid(self.place(x))


class Heads(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.mix = nn.MultiheadAttention(channels, 2, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).mT
        return x + self.mix(tokens, tokens, tokens)[0].mT.reshape(x.shape)


class Wide(nn.Module):
    def __init__(self, channels, width):
        super().__init__()


class Longer(Mine):
    def forward(self, x):
        return super().forward(x)[..., 1:]


class Scaled(Mine):
    def forward(self, x):
        return self.channel(x)


class Plain(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return self.conv(x).relu()


def number(channels):
    return channels


five = 5
'''


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Path]:
    """The file, and after it a dict of attention types that is as it was."""
    before = dict(ATTENTION)
    folder = tmp_path / "code"
    folder.mkdir()
    file = folder / "mine.py"
    file.write_text(CODE)
    yield file
    ATTENTION.clear()
    ATTENTION.update(before)


@pytest.fixture
def mine(code: Path) -> str:
    return load_attention(f"{code}:Mine")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0)
    for label, colour in (("green", (40, 200, 40)), ("red", (200, 40, 40))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(10):
            pixels = np.array(colour) + noise.integers(-35, 35, (40, 40, 3))
            file = tmp_path / "data" / label / f"{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    return tmp_path / "data"


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


def test_a_class_in_a_file_becomes_a_type(mine: str) -> None:
    assert mine == "mine.py:Mine"  # no folder
    assert ATTENTION[mine].title == "Mine"
    assert ATTENTION[mine].explanation == "A gate of channels, then one of places, and no tap."
    assert load_attention("cbam") == "cbam"
    assert load_attention("none") == "none"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("{folder}/other.py:Mine", "there is no file '.*other.py'"),
        ("{file}:Mime", r"mine.py has no 'Mime': the nearest are Mine"),
        ("{file}:five", "'mine.py:five' is no class or function"),
        ("{file}:Wide", r"'mine.py:Wide' can't be built for 512 channels: TypeError: .*width"),
        ("{file}:number", "'mine.py:number' gives int for 512 channels, no nn.Module"),
        ("{file}:Longer", r"returns \(1, 512, 14, 13\) for features \(1, 512, 14, 14\)"),
        ("{file}:Scaled", r"can't be run on features of 512 channels: RuntimeError: "),
        ("{file}:Plain", "no attention was found in 'mine.py:Plain'"),
        ("nothing", "no attention 'nothing': choose one of none, gate, .*, or FILE.py:NAME"),
    ],
)
def test_what_can_t_be_had_is_one_sentence(code: Path, name: str, sentence: str) -> None:
    before = dict(ATTENTION)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_attention(name.format(file=code, folder=code.parent))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, Error)
    assert caught.value.message("zh") != str(caught.value)
    assert before == ATTENTION


def test_code_that_fails_is_one_sentence(code: Path) -> None:
    code.write_text("import nothing_of_this_name")
    with pytest.raises(ValueError, match=r"mine\.py can't be run: ModuleNotFoundError: No module"):
        load_attention(f"{code}:Mine")


def test_packages_bring_attention_that_is_loaded_when_it_is_asked_for(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package as pip installs it: a module beside its metadata."""
    (tmp_path / "brought.py").write_text(CODE)
    about = tmp_path / "brought-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[vggviz.attention]\nbrought = brought:Mine\nbroken = brought:Nothing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert {point.name for point in entry_points(group="vggviz.attention")} >= {"brought"}
    assert {"none", "cbam", "brought", "broken"} <= set(attention_names())
    assert "brought" in run("train", "--help")
    assert "brought" not in sys.modules
    assert load_attention("brought") == "brought"
    assert ATTENTION["brought"].title == "Mine"
    sys.modules.pop("brought")
    with pytest.raises(ValueError, match="brought:Nothing can't be run: AttributeError"):
        load_attention("broken")
    sys.modules.pop("brought")


@pytest.fixture
def tapped(code: Path, small_vgg: Callable[..., Network]) -> Callable[[str], Network]:
    """A small network with attention of this name at blocks 4 and 5."""

    def build(name: str) -> Network:
        key = load_attention(f"{code}:{name}")
        return small_vgg(attention=key, stages=("block4", "block5")).eval()

    return build


@pytest.mark.parametrize(
    ("name", "kinds"), [("Mine", ["channel", "spatial"]), ("Heads", ["token"])]
)
@pytest.mark.parametrize("size", [64, 96])
def test_its_weights_pass_through_taps(
    tapped: Callable[[str], Network], name: str, kinds: list[str], size: int
) -> None:
    """Bit for bit what the module computes, at sizes that it was not built with."""
    model = tapped(name)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        bare = model(x)
        with capture(model) as trace:
            watched = model(x)
    assert torch.equal(bare, watched)
    assert [reading.kind for reading in trace.taps.values()] == kinds * 2
    arriving = model.features_before(x, "block5")
    module = model.attention["block5"].module.module
    last = trace.taps["attention.block5.module.taps.0"]
    with torch.no_grad():
        if name == "Mine":
            expected = module.channel(arriving.mean((2, 3)))
        else:
            tokens = arriving.flatten(2).mT
            options = {"need_weights": True, "average_attn_weights": False}
            expected = module.mix(tokens, tokens, tokens, **options)[1]
    torch.testing.assert_close(last.weights, expected)
    side = size // 16
    assert last.grid == (side, side)


def test_a_network_with_it_is_explained_as_any_other(tapped: Callable[[str], Network]) -> None:
    """CAMs and attention × gradient against plain autograd; other weights change the answer."""
    model = tapped("Mine").double()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    path = model.path("block5")
    found = cams(model, x, [path, model.path("block3")], ("gradcam", "attention*gradient"), 1)
    module = model.attention["block5"].module.module
    features = model.features_before(x, "block5").detach()
    scaled = features * module.channel(features.mean((2, 3)))[:, :, None, None]
    weights = module.place(scaled).sigmoid().detach().requires_grad_()
    gamma = model.attention["block5"].gamma
    output = features + gamma * (scaled.detach() * weights - features)
    (slope,) = torch.autograd.grad(model.classify(model.features[-1](output))[0, 1], weights)
    expected = (weights * slope).relu()[:, 0].detach()
    torch.testing.assert_close(found.maps[path, "attention*gradient"][0], expected)
    assert expected.max() > 0
    assert found.maps[model.path("block3"), "gradcam"].max() > 0
    with torch.no_grad():
        with intervene(model, lambda path, kind, w: w * 0):
            shut = model(x)
        with model.bypass():
            without = model(x)
    assert not torch.allclose(shut, found.logits)
    assert not torch.allclose(without, found.logits)


def test_gradients_flow_into_it_in_training(tapped: Callable[[str], Network]) -> None:
    model = tapped("Mine").train()
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with capture(model) as trace:
        logits = model(x)
    places = trace.taps["attention.block4.module.taps.1"].weights
    (logits.sum() + places.sum()).backward()
    for name, parameter in model.attention.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.abs().sum() > 0), name


def saved(key: str, file: Path) -> Path:
    config = NetworkConfig(key, ("block5",), head="gap", width=0.125, num_classes=2)
    model = build_network(config, torch.Generator().manual_seed(0)).eval()
    save_network(model, Card("mine", config, Preprocess(32, 32), ("green", "red")), file)
    return file


def test_weights_are_opened_only_where_the_code_is_named_again(
    code: Path, mine: str, tmp_path: Path
) -> None:
    file = saved(mine, tmp_path / "mine.safetensors")
    assert load_network(file)[1].config.attention == mine
    del ATTENTION[mine]
    code.write_text("raise SystemExit('this code must not run')")
    for opened in (
        lambda: load_network(file),
        lambda: OwnNetwork.admit(file),
    ):  # and a page's upload
        with pytest.raises(WeightsError, match=r"--attention FOLDER/mine\.py:Mine") as caught:
            opened()
        assert "只有指明它的人" in caught.value.message("zh")
    picture = tmp_path / "a.png"
    Image.new("RGB", (40, 40), "red").save(picture)
    assert "names it: --attention" in run("explain", picture, "--weights", file, code=2)


def test_from_training_to_figure_by_the_command_line(
    code: Path, pictures: Path, tmp_path: Path
) -> None:
    own, file, out = f"{code}:Mine", tmp_path / "mine.safetensors", tmp_path / "out"
    common = ["--epochs", "1", "--image-sizes", "32", "--stages", "block5"]
    run(
        *("train", "--data", pictures, "--out", file, "--attention", own, "--width", "0.125"),
        *("--batch", "8", *common),
    )
    assert load_network(file)[1].config.attention == "mine.py:Mine"
    ATTENTION.pop("mine.py:Mine")
    picture = pictures / "red" / "0.png"
    run("explain", picture, "--out", out, "--weights", file, "--attention", own)
    told = json.loads((out / "0.json").read_text())
    kinds = [one["kind"] for one in told["stages"]["block5"]["attention"]]
    assert kinds == ["channel", "spatial"]
    arrays = np.load(out / "0.npz")
    assert {"block5/attention/channel", "block5/attention/spatial"} <= set(arrays)
    ATTENTION.pop("mine.py:Mine")
    table = run("evaluate", "--data", pictures, "--weights", file, "--attention", own)
    assert "mine.py:Mine" in table
    wrong = run("evaluate", "--data", pictures, "--weights", file, "--attention", "cbam", code=2)
    assert "brings its own attention" in wrong
    ATTENTION.pop("mine.py:Mine")
    study = tmp_path / "study"
    compared = run(
        *("compare", "--data", pictures, "--out", study, "--attention", own, "--seeds", "1"),
        *("--width", "0.125", "--batch", "8", *common),
    )
    assert "| `mine.py:Mine` |" in compared
    assert (study / "mine.py-Mine-0.json").is_file()


def test_a_page_offers_it_where_its_host_names_it(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[Networks] = []
    monkeypatch.setattr("vggviz.server.server.build", lambda networks: offered.append(networks))
    with pytest.raises(AttributeError, match="queue"):  # nothing was built; the rest is not wanted
        page(Settings(attention=f"{code}:Mine, {code}:Heads"))
    choices = offered[0].choices
    assert choices["random"][-2:] == ("mine.py:Mine", "mine.py:Heads")
    assert "mine.py:Mine" not in choices["everyday"]
    with pytest.raises(ValueError, match="has no 'Nothing'"):
        page(Settings(attention=f"{code}:Nothing"))


def test_it_is_copied_and_moved_as_any_module(tapped: Callable[[str], Network]) -> None:
    model = tapped("Heads")
    card = Card("mine", model.config, Preprocess(64, 64), tuple("abcdefghij"))
    explainer = Explainer(model, card)  # a deep copy
    picture = np.random.default_rng(0).integers(0, 256, (70, 80, 3), np.uint8)
    found = explainer.explain(picture, ("block5",), ("gradcam", "attention*gradient"))
    (record,) = found.attention["block5"]
    assert record.kind == "token"
    assert record.query(1, 2).sum().item() == pytest.approx(1, abs=1e-5)
    half = Explainer(model, card, precision="bf16").explain(picture, ("block5",))
    (rough,) = half.attention["block5"]
    torch.testing.assert_close(rough.weights, record.weights, atol=0.05, rtol=0.2)

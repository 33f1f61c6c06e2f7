"""Attention trained without labels: the loss, term by term, and a run from pictures to a file."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import write_squares
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from typer.testing import CliRunner

pytest.importorskip("accelerate", reason="needs the extra 'train'")

from accelerate import Accelerator

from vggviz import ATTENTION
from vggviz.attention import AttentionType
from vggviz.cli import app
from vggviz.data import DataError, open_unlabelled
from vggviz.hooks.capture import TapReading, capture
from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.training import Examples, TrainConfig
from vggviz.training.inputs import Inputs
from vggviz.training.loop import set_attention_trainable
from vggviz.training.run import run_training
from vggviz.training.start import NetworkChoice
from vggviz.training.terms import TERMS, Terms
from vggviz.training.unlabelled import (
    keep_loss,
    mask_of,
    mixed,
    need_loss,
    open_gates,
    price,
    unlabelled_loss,
)
from vggviz.weights import Card, load_network, read_backbone, read_card, save_network

LABELS = ("ant", "bee", "cat")


def network(attention: str, generator: int = 0) -> Network:
    config = NetworkConfig(
        attention,
        ("block4", "block5") if attention != "none" else (),
        head="gap",
        architecture="vgg11_bn",
        width=0.125,
        num_classes=len(LABELS),
        blend="replace",
    )
    return build_network(config, torch.Generator().manual_seed(generator)).eval()


def reading(kind: str, weights: Tensor, grid: tuple[int, int]) -> TapReading:
    return TapReading(kind, weights, grid, None)  # type: ignore[arg-type]


def test_the_terms_of_the_loss_by_hand() -> None:
    answer, logits = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[math.log(4), 0.0]])
    # p = (1/4, 3/4), q = (4/5, 1/5)
    kept = 0.25 * math.log(0.25 / 0.8) + 0.75 * math.log(0.75 / 0.2)
    assert keep_loss(answer, logits).item() == pytest.approx(kept, rel=1e-5)
    needed = -(0.25 * math.log(0.2) + 0.75 * math.log(0.8))
    assert need_loss(answer, logits).item() == pytest.approx(needed, rel=1e-5)
    assert keep_loss(answer, answer).item() == pytest.approx(0, abs=1e-7)
    x, other = torch.full((1, 2, 1, 2), 4.0), torch.zeros(1, 2, 1, 2)
    mask = torch.tensor([[[[0.25, 1.0]]]])
    assert mixed(x, other, mask).tolist() == [[[[1.0, 4.0]], [[1.0, 4.0]]]]
    assert price(mask).item() == pytest.approx((0.0625 + 1) / 2)


def test_masks_of_all_kinds_by_hand() -> None:
    spatial = torch.tensor([[[0.5, 1.0]]])  # (B, H, W)
    channel = torch.tensor([[0.5, 0.25, 1.0]])
    mask = mask_of([reading("channel", channel, (1, 2)), reading("spatial", spatial, (1, 2))])
    expected = [[[0.25, 0.5]], [[0.125, 0.25]], [[0.5, 1.0]]]
    assert mask.tolist() == [expected]
    rows, columns = torch.tensor([[[0.5, 1.0]]]), torch.tensor([[[1.0, 0.5, 0.25]]])
    axes = mask_of([reading("axis", rows, (2, 1)), reading("axis", columns, (1, 3))])
    assert axes.tolist() == [[[[0.5, 0.25, 0.125], [1.0, 0.5, 0.25]]]]
    volume = torch.rand(2, 3, 4, 5)
    assert torch.equal(mask_of([reading("volume", volume, (4, 5))]), volume)
    pool = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    found = mask_of([reading("pool", pool, (2, 2))], budget=0.5)
    high = 1 - math.exp(-0.5 * 4 * 0.5)
    torch.testing.assert_close(found, torch.tensor([[[[high, high], [0.0, 0.0]]]]))
    token = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])  # (B, heads, N, M): keys get 3/4, 1/4
    found = mask_of([reading("token", token, (1, 2))])
    by_hand = [1 - math.exp(-2 * 0.75), 1 - math.exp(-2 * 0.25)]
    torch.testing.assert_close(found, torch.tensor([[[by_hand]]]))
    with pytest.raises(ValueError, match="branch"):
        mask_of([reading("branch", torch.rand(1, 2, 3), (1, 1))])


@pytest.mark.parametrize("stage", ["block4", "block5"])
@pytest.mark.parametrize("attention", ["cbam", "softmax"])
@pytest.mark.parametrize(
    "terms",
    [Terms(0.7, 0.3, 2.0, 0.5, 0.8), Terms(0, 0.3, 2.0, 0, 0.8), Terms(0.7, 0, 2.0, 0.5, 0.8)],
)
def test_the_loss_is_that_of_five_passes_over_whole_pictures(
    attention: str, stage: str, terms: Terms
) -> None:
    """Written out with five passes of the whole network, one picture at a time."""
    model = network(attention)
    pictures = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    other = torch.tensor([1, 2, 0])
    with torch.no_grad():
        features = model.features_before(pictures, "block4")
        found_logits, answer, loss = unlabelled_loss(model, features, "block4", stage, terms, other)
        plain = network("none")
        plain.load_state_dict(model.state_dict(), strict=False)
        total = 0.0
        masks, inputs = [], []
        for picture in pictures:
            inputs.append(model.features_before(picture[None], stage))
            with capture(model) as trace:
                model(picture[None])
            taps = [tap for path, tap in trace.taps.items() if f".{stage}." in f".{path}."]
            masks.append(mask_of(taps, 0.8))
        for n, picture in enumerate(pictures):
            p = plain(picture[None])
            torch.testing.assert_close(answer[n : n + 1], p, rtol=1e-4, atol=1e-5)
            attended = model(picture[None])
            torch.testing.assert_close(found_logits[n : n + 1], attended, rtol=1e-4, atol=1e-5)
            x, x2, m = inputs[n], inputs[int(other[n])], masks[n]
            kept = model.logits_after(m * x + (1 - m) * x2, stage)
            lost = model.logits_after((1 - m) * x + m * x2, stage)
            block = model.attention[stage].module
            if attention == "softmax":
                context = x.mean((2, 3))
                averaged = x + block.transform(context)[:, :, None, None]
            else:
                weights = block.channel.mlp(x.mean((2, 3))) + block.channel.mlp(x.amax((2, 3)))
                scaled = x * weights.sigmoid().mean()
                pooled = torch.stack((scaled.mean(1), scaled.amax(1)), 1)
                gate = block.spatial.norm(block.spatial.conv(pooled)).sigmoid()
                averaged = scaled * gate.mean()
            effect = attended - model.logits_after(averaged, stage)
            total += float(
                keep_loss(p, attended)
                + terms.keep * keep_loss(p, kept)
                + terms.need * need_loss(p, lost)
                + 2.0 * m.square().mean()
                + terms.counterfactual * torch.nn.functional.cross_entropy(effect, p.argmax(1))
            )
    assert float(loss) == pytest.approx(total / 3, rel=1e-4)


def test_the_controls_have_answers_of_others() -> None:
    model = network("spatial")
    features = torch.randn(3, 128, 4, 4, generator=torch.Generator().manual_seed(1)).relu()
    features = features[:, : model.features_before(torch.zeros(1, 3, 64, 64), "block4").shape[1]]
    other = torch.tensor([1, 2, 0])

    def answer(terms: Terms) -> Tensor:
        return unlabelled_loss(model, features, "block4", "block4", terms, other)[1]

    own = answer(Terms())
    assert torch.equal(answer(Terms(answers="shuffled")), own[other])
    wrong = answer(Terms(answers="wrong"))
    assert torch.equal(wrong.sort(1).values, own.sort(1).values)
    assert torch.equal(wrong.argmax(1), own.argmin(1))
    assert torch.equal(wrong.argmin(1), own.argmax(1))


@pytest.mark.parametrize("attention", [key for key in ATTENTION if key != "simam"])
def test_only_attention_learns_and_every_parameter_of_it_does(attention: str) -> None:
    model = network(attention)
    frozen = set_attention_trainable(model)
    model.train()
    for module in frozen:
        module.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    features = model.features_before(torch.randn(4, 3, 64, 64), "block4").detach()
    for stage in model.attention:
        terms = TERMS.get(attention, Terms())
        unlabelled_loss(model, features, "block4", stage, terms, torch.tensor([1, 2, 3, 0]))[
            2
        ].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("attention."), name
    after = model.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())


class ChannelsToChannels(nn.Module):
    """Which channels each channel attends to, as in DANet (Fu et al. 2019): no mask of features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        weights = (tokens @ tokens.transpose(1, 2)).softmax(-1)
        return self.gamma * (weights @ tokens).view_as(x) + x


class PlainGate(nn.Module):
    """A channel gate without a tap."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3))).sigmoid()[:, :, None, None]


def test_attention_of_ones_own_without_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = AttentionType(PlainGate, title="", explanation="", gate_biases=("fc.bias",))
    monkeypatch.setitem(ATTENTION, "plain", plain)
    kernel = AttentionType(ChannelsToChannels, title="", explanation="")
    monkeypatch.setitem(ATTENTION, "kernel", kernel)
    model = network("plain")
    bias = next(value for name, value in model.named_parameters() if name.endswith("fc.bias"))
    before = bias.detach().clone()
    open_gates(model, 2.0)
    torch.testing.assert_close(bias, before + 2)
    # 25 channels, which are not as many as positions
    model = build_network(replace(model.config, attention="kernel", width=0.05)).eval()
    features = model.features_before(torch.randn(2, 3, 64, 64), "block4").detach()
    with capture(model.attention["block4"]) as trace:
        model.attention["block4"](features)
    assert [reading.kind for reading in trace.taps.values()] == ["other"]
    other = torch.tensor([1, 0])
    attended, answer, loss = unlabelled_loss(model, features, "block4", "block4", Terms(), other)
    torch.testing.assert_close(loss, keep_loss(answer, attended))


def test_pictures_without_labels(tmp_path: Path) -> None:
    for name in (
        "a.png",
        "b/c.png",
        "b/d.png",
        "train/e.png",
        "val/x.png",
        "test/y/z.png",
        "masks/a/a.png",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(file)
    (tmp_path / "notes.txt").write_text("hello")
    first, second = open_unlabelled(tmp_path, generator=torch.Generator().manual_seed(0))
    assert sorted(first.files + second.files) == ["a.png", "b/c.png", "b/d.png", "train/e.png"]
    assert (len(first), len(second)) == (3, 1)
    assert dict(first.ignored) == {".txt": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="0 pictures to learn from"):
        open_unlabelled(tmp_path / "empty", generator=torch.Generator())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_squares(tmp_path / "photos")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    model = network("none", 7)
    card = Card("base", model.config, Preprocess(64, 64), LABELS)
    save_network(model, card, tmp_path / "base.safetensors")
    return tmp_path / "base.safetensors"


def test_from_a_flat_folder_to_an_adapter(photos: Path, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    arguments = ["train", "--data", photos, "--unlabelled", "--weights", base, "--attention"]
    arguments += ["cbam", "--out", out, "--epochs", "2", "--batch", "8", "--views", "1"]
    arguments += ["--price", "5"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "32 training pictures and 8 for validation" in result.output
    assert "agreement is with the answers of the network without attention" in result.output
    assert re.search(r"mine.safetensors: agreement \d+.\d% .* \d+ kB", result.output)
    with safe_open(out, framework="pt") as opened:
        names = set(opened.keys())
    assert names
    assert all(name.startswith("attention.") for name in names)
    card = read_card(out)
    assert card.labels == LABELS
    assert card.backbone == read_backbone(base)
    assert "validation" not in card.facts
    assert 0 <= card.facts["agreement"]["top1"] <= 1
    assert card.facts["recipe"]["unlabelled"]["price"] == 5
    assert card.config.stages == ("block4", "block5")
    assert card.config.blend == "replace"
    model, _ = load_network(out)
    with model.bypass(), torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(model(x), load_network(base)[0](x))


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(photos: Path, base: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        epochs=4, image_sizes=(), batch=8, lr=0.01, attention_lr=1.0, views=1, unlabelled=Terms()
    )
    choice = NetworkChoice(str(base), "spatial")
    whole, part = tmp_path / "whole.safetensors", tmp_path / "part.safetensors"
    run_training(photos, whole, config, choice)

    class Killed(Exception):
        pass

    def stop(progress: object) -> None:
        if progress.validation is not None and progress.epoch == 1:  # type: ignore[attr-defined]
            raise Killed

    with pytest.raises(Killed):
        run_training(photos, part, config, choice, report=stop)
    run_training(photos, part, config, choice, resume=True)
    ours, theirs = (load_network(file)[0].state_dict() for file in (part, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("attention", ATTENTION)
def test_fresh_gates_are_opened(attention: str) -> None:
    """Weights of 1/2 become σ(2); those of CBAM's channels, whose bias counts twice, σ(4)."""
    model = network(attention)
    with torch.no_grad():
        for block in model.attention.values():
            for name, parameter in block.named_parameters():
                if name.endswith("bias") or "norm" not in name:
                    parameter.zero_()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    open_gates(model, 2.0)
    with capture(model) as trace, torch.no_grad():
        model(x)
    for path, tap in trace.taps.items():
        if not ATTENTION[attention].gate_biases:
            expected = 0.5 if attention in ("eca", "bam") else None
        else:
            expected = 1 / (1 + math.exp(-4 if path.endswith("channel.channel") else -2))
        if expected is not None:
            torch.testing.assert_close(tap.weights, torch.full_like(tap.weights, expected))


def test_gates_start_open_and_the_price_rises(
    photos: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices: list[float] = []
    biases: list[float] = []

    def spied(*arguments: Any) -> Any:
        prices.append(arguments[4].price)
        block = arguments[0].attention["block5"]
        biases.append(block.get_parameter("module.norm.bias").item())
        return unlabelled_loss(*arguments)

    monkeypatch.setattr("vggviz.training.loop.unlabelled_loss", spied)
    config = TrainConfig(epochs=2, image_sizes=(), batch=8, views=1, unlabelled=Terms(price=6))
    run_training(photos, tmp_path / "x.safetensors", config, NetworkChoice(str(base), "spatial"))
    steps = len(prices)
    assert steps >= 4
    assert prices == pytest.approx([min(6, 12 * step / steps) for step in range(steps)])
    assert biases[0] == 2
    assert biases[-1] != 2
    assert Terms(price=6, ramp=0).at(0).price == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "none"], "a fresh network is random"),
        (["--attention", "none"], "--attention"),
        (["--classes", "ant"], "--classes"),
        (["--attention", "simam"], "simam has no parameters to train"),
    ],
)
def test_what_cannot_be_taught(
    photos: Path, base: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    before = ["train", "--data", photos, "--unlabelled", "--out", tmp_path / "x.safetensors"]
    start = [] if "--weights" in arguments else ["--weights", base]
    result = CliRunner().invoke(app, list(map(str, [*before, *start, *arguments])))
    assert result.exit_code != 0
    assert words in " ".join(result.output.split())


def test_attention_that_its_layers_learned_with_is_no_start(photos: Path, tmp_path: Path) -> None:
    model = network("se")
    own = tmp_path / "own.safetensors"
    save_network(model, Card("own", model.config, Preprocess(64, 64), LABELS), own)
    config = TrainConfig(epochs=1, image_sizes=(), batch=8, unlabelled=Terms())
    with pytest.raises(ValueError, match="without labels start from a network that has none"):
        run_training(photos, tmp_path / "x.safetensors", config, NetworkChoice(str(own), "cbam"))


def test_a_labelled_run_does_not_read_features_of_half_precision(tmp_path: Path) -> None:
    """Both may share a folder of stored features."""
    model = network("spatial").requires_grad_(False)
    pixels = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    examples = Examples(pixels, torch.zeros(4, dtype=torch.long))
    names = set()
    for terms in (None, Terms()):
        config = TrainConfig(image_sizes=(64,), batch=2, views=1, unlabelled=terms)
        inputs = Inputs(
            *(model, "block4", examples, examples, Preprocess(64, 64), config, Accelerator()),
            *(tmp_path, 0),
        )
        next(iter(inputs.batches(0, 1)))
        names.add(frozenset(file.name for file in tmp_path.iterdir()))
    assert len(names) == 2
    assert len(list(tmp_path.iterdir())) == 2

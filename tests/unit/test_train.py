"""Training learns, resumes to the bit, and says what is wrong."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

pytest.importorskip("accelerate", reason="needs the extra 'train'")

from vggviz.hooks.capture import TapReading, intervene
from vggviz.images import Preprocess
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.training import Examples, Progress, TrainConfig, TrainError, measure, train
from vggviz.training.examples import augment
from vggviz.training.inputs import normalise
from vggviz.training.objective import (
    average_second_half,
    counterfactual_loss,
    infomax_penalty,
    objective,
)
from vggviz.training.run import NetworkChoice, run_training
from vggviz.weights import load_network

PREPROCESS = Preprocess(32, 32)
CONFIG = TrainConfig(epochs=3, image_sizes=(32,), batch=8, lr=0.02, seed=3)


def coloured(count: int = 40, seed: int = 0) -> Examples:
    """Two classes that differ in colour, with noise."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 120, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    targets = torch.arange(count) % 2
    shift = torch.stack((targets, 1 - targets, targets * 0), 1)[:, :, None, None] * 100
    return Examples(pixels + shift.to(torch.uint8), targets)


def small(attention: str = "cbam", **changes: object) -> Network:
    config = NetworkConfig(
        attention=attention,
        head="gap",
        architecture="vgg19_bn",
        width=0.125,
        num_classes=2,
        **changes,  # type: ignore[arg-type]
    )
    return build_network(config, torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    model, examples = small(), coloured(64)
    config = replace(CONFIG, epochs=6)
    history = train(model, examples, coloured(32, 1), PREPROCESS, config, tmp_path / "c")
    assert history[-1]["validation_top1"] >= 0.9
    assert "validation_top5" not in history[-1]  # there are two classes
    assert measure(model, coloured(32, 1), PREPROCESS)["top1"] == history[-1]["validation_top1"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["accuracy"] > 0.9
    assert [entry["epoch"] for entry in history] == list(range(6))
    gammas = model.gammas().values()
    assert all(gammas), "γ has to move away from 0"


def resumed(checkpoint: Path, report: Callable[[Progress], None]) -> dict[str, Tensor]:
    """The weights after a run that goes on where there is a checkpoint, on one thread: the order
    of sums depends on how many there are."""
    threads, model = torch.get_num_threads(), small()
    torch.set_num_threads(1)
    try:
        data = coloured(), coloured(8, 1), PREPROCESS, CONFIG
        train(model, *data, checkpoint, resume=True, every=2, report=report)
    finally:
        torch.set_num_threads(threads)
    return model.state_dict()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """A real process, really killed, between and within epochs."""

    def killed_after(step: int) -> None:
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from pathlib import Path; from test_train import resumed\n"
            "resumed(Path(sys.argv[1]), lambda progress: print(progress.step, flush=True))\n"
        )
        command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "killed")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout:
            assert any(int(line) == step for line in process.stdout)
            process.send_signal(signal.SIGKILL)
        process.wait()

    steps: list[int] = []
    whole = resumed(tmp_path / "whole", lambda progress: steps.append(progress.step))
    assert steps == list(range(1, 16))
    killed_after(3)
    killed_after(9)
    steps.clear()
    last = resumed(tmp_path / "killed", lambda progress: steps.append(progress.step))
    assert 1 < steps[0] <= 10
    assert steps[-1] == 15
    assert last.keys() == whole.keys()
    for key, value in whole.items():
        assert torch.equal(last[key], value), key


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c"
    train(small(), coloured(), coloured(8), PREPROCESS, replace(CONFIG, epochs=1), file)
    with pytest.raises(TrainError, match=r"a run with other settings: epochs 3 \(before: 1\)$"):
        train(small(), coloured(), coloured(8), PREPROCESS, CONFIG, file, resume=True)
    other = replace(CONFIG, epochs=1)
    with pytest.raises(
        TrainError, match=r'a run with another network: attention "se" \(before: "cbam"\)$'
    ):
        train(small("se"), coloured(), coloured(8), PREPROCESS, other, file, resume=True)
    labelled = replace(coloured(), targets=coloured().targets.flip(0))
    for pictures in (coloured(9), labelled):
        with pytest.raises(TrainError, match="a run on other pictures"):
            train(small(), pictures, coloured(8), PREPROCESS, other, file, resume=True)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainError, match="no whole checkpoint"):
        train(small(), coloured(), coloured(8), PREPROCESS, other, file, resume=True)


def test_a_checkpoint_leaves_out_what_is_frozen_and_knows_when_it_differs(tmp_path: Path) -> None:
    file, config = tmp_path / "c", replace(CONFIG, epochs=1, train_from="block5")
    data = coloured(), coloured(8), PREPROCESS, config, file
    model, again = small("se", stages=("block5",)), small("se", stages=("block5",))
    train(model, *data)
    written = {key.removeprefix("model.") for key in load_file(file)}
    assert "features.0.weight" in model.state_dict().keys() - written
    assert learned(small("se", stages=("block5",)), config, tmp_path) <= written
    train(again, *data, resume=True)
    for key, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    with torch.no_grad():
        next(again.features.parameters()).add_(1)
    with pytest.raises(TrainError, match="other weights in the layers that are not trained"):
        train(again, *data, resume=True)


def test_a_checkpoint_with_the_names_of_version_0_1_goes_on(tmp_path: Path) -> None:
    file, once = tmp_path / "c", replace(CONFIG, epochs=1)
    train(small(), coloured(), coloured(8), PREPROCESS, once, file)
    with safe_open(file, framework="pt") as opened:
        told = json.loads(opened.metadata()["train"])
    old = {"lr": "rate", "attention_lr": "attention_rate", "image_sizes": "sizes"}
    old |= {"train_from": "learn_from", "distill_weight": "distil"}
    told["config"] = {old.get(name, name): value for name, value in told["config"].items()}
    told["network"]["sites"] = told["network"].pop("stages")
    told["network"]["batch_norm"] = told["network"].pop("architecture") == "vgg19_bn"
    save_file(load_file(file), file, {"train": json.dumps(told)})
    train(small(), coloured(), coloured(8), PREPROCESS, once, file, resume=True)
    other = replace(once, lr=0.5)
    with pytest.raises(TrainError, match=r"a run with other settings: lr 0.5 \(before: 0.02\)$"):
        train(small(), coloured(), coloured(8), PREPROCESS, other, file, resume=True)


def learned(model: Network, config: TrainConfig, folder: Path, **options: object) -> set[str]:
    """The entries of the state that training changes."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    train(model, coloured(), coloured(8), PREPROCESS, config, folder / "c", **options)  # type: ignore[arg-type]
    return {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}


def test_a_frozen_backbone_learns_attention_norms_and_head_above_the_lowest_stage(
    tmp_path: Path,
) -> None:
    model = small("se", stages=("block3", "block5"))
    changed = learned(model, replace(CONFIG, freeze_backbone=True), tmp_path)
    lowest = int(model.layers["relu3_4"].split(".")[1])
    for key in model.state_dict():
        kind = key.split(".")[0]
        if kind == "features":
            index = int(key.split(".")[1])
            norm = isinstance(model.features[index], nn.BatchNorm2d)
            assert (key in changed) == (norm and index > lowest), key
        elif kind == "classifier" or key.endswith("gamma"):
            assert key in changed, key
    assert any(key.startswith("attention.block3.module") for key in changed)


@pytest.mark.parametrize("whole_head", [False, True])
def test_of_a_frozen_networks_head_the_last_layer_learns(whole_head: bool, tmp_path: Path) -> None:
    config = NetworkConfig("se", ("block5",), width=0.0625, num_classes=2)
    model = build_network(config, torch.Generator().manual_seed(0))
    frozen = replace(CONFIG, epochs=1, freeze_backbone=True, whole_head=whole_head)
    changed = learned(model, frozen, tmp_path)
    layers = {key.split(".")[1] for key in changed if key.startswith("classifier.")}
    assert layers == ({"0", "3", "6"} if whole_head else {"6"})
    assert not any(key.startswith("features.") for key in changed)


@torch.no_grad()
def test_top_5_is_reported_where_there_are_more_than_five_classes() -> None:
    examples = coloured(20)
    for classes in (2, 3, 5, 6, 12):
        config = NetworkConfig(head="gap", width=0.125, num_classes=classes)
        model = build_network(config, torch.Generator().manual_seed(0)).eval()
        found = measure(model, examples, PREPROCESS)
        logits = model(normalise(examples.pixels, PREPROCESS, torch.device("cpu")))
        ranks = (logits > logits.gather(1, examples.targets[:, None])).sum(1)
        expected = {"top1": float((ranks < 1).float().mean())}
        if classes > 5:
            expected["top5"] = float((ranks < 5).float().mean())
        assert found == pytest.approx(expected)


def test_learning_from_a_stage_up_leaves_all_below_it(tmp_path: Path) -> None:
    model = small("none")
    changed = learned(model, replace(CONFIG, train_from="block4"), tmp_path)
    relu = int(model.layers["relu4_4"].split(".")[1])
    convolutions = {
        key: int(key.split(".")[1]) > relu
        for key in model.state_dict()
        if key.startswith("features.") and key.endswith("weight")
    }
    assert {key for key, above in convolutions.items() if above} <= changed
    assert not {key for key, above in convolutions.items() if not above} & changed
    with pytest.raises(ValueError, match="no stage 'blok4' to train from: block1, block2"):
        learned(model, replace(CONFIG, train_from="blok4"), tmp_path)


def test_views_are_computed_once_and_kept(tmp_path: Path) -> None:
    config = replace(CONFIG, freeze_backbone=True, views=2, epochs=4, zoom_out=0.5)
    first, again, other = small("spatial"), small("spatial"), small("spatial")
    learned(first, config, tmp_path, cache=tmp_path / "cache")
    kept = {file.name: file.read_bytes() for file in (tmp_path / "cache").iterdir()}
    assert len(kept) == 3  # two views, and the validation pictures
    learned(again, config, tmp_path, cache=tmp_path / "cache")
    assert {file.name: file.read_bytes() for file in (tmp_path / "cache").iterdir()} == kept
    learned(other, config, tmp_path)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
        assert torch.equal(value, other.state_dict()[key]), key
    with torch.no_grad():
        first.features[0].weight.add_(1)
    learned(first, config, tmp_path, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 6  # another backbone has other features
    with torch.no_grad():
        first.features[0].weight.sub_(1)
    behind = build_network(replace(first.config, placement="after_pool"))
    behind.load_state_dict(first.state_dict())
    learned(behind, config, tmp_path, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 9  # so has attention behind the pooling


def test_a_view_shows_every_part_sometimes_and_shrinks_only_when_told() -> None:
    marked = torch.full((3, 32, 32), 200, dtype=torch.uint8)
    near = replace(CONFIG, min_scale=1.0)
    assert torch.equal(augment(marked, 32, PREPROCESS, near, 0), marked)
    zoomed = replace(near, zoom_out=1.0)
    before = torch.get_rng_state()
    shrunk = torch.stack([augment(marked, 32, PREPROCESS, zoomed, seed) for seed in range(400)])
    assert torch.equal(torch.get_rng_state(), before)
    ground = torch.tensor([round(255 * value) for value in PREPROCESS.mean])[:, None, None]
    share = ((shrunk.int() - 200).abs() <= 2).all(1).float().mean((1, 2))
    assert 0.2 < float(share.min()) < 0.35  # at most half as high and half as wide
    assert float(share.max()) > 0.9
    corner = ((shrunk[:, :, 0, 0].int() - ground[:, 0, 0]).abs() <= 2).all(1)
    assert 0.7 < float(corner.float().mean()) < 1
    assert torch.equal(augment(marked, 32, PREPROCESS, zoomed, 5), shrunk[5])


def test_a_loss_that_is_no_number_stops_before_anything_is_written(tmp_path: Path) -> None:
    model = small()
    with torch.no_grad():
        model.classifier[0].bias.fill_(math.nan)
    with pytest.raises(TrainError, match="the loss is nan at step 0: lower the learning rate"):
        train(model, coloured(), coloured(8), PREPROCESS, CONFIG, tmp_path / "c")
    assert not list(tmp_path.iterdir())
    with pytest.raises(TrainError, match="4 pictures do not fill one batch"):
        train(small(), coloured(4), coloured(8), PREPROCESS, CONFIG, tmp_path / "c")


def test_the_schedule_by_hand() -> None:
    config = TrainConfig(epochs=9, image_sizes=(32, 48, 64), lr=0.1, warmup=0.25)
    assert [config.size_at(epoch) for epoch in range(9)] == [32] * 3 + [48] * 3 + [64] * 3
    assert [replace(config, image_sizes=(64,)).size_at(epoch) for epoch in (0, 8)] == [64, 64]
    uneven = replace(config, epochs=5, image_sizes=(48, 64))
    assert [uneven.size_at(epoch) for epoch in range(5)] == [48, 48, 48, 64, 64]
    assert config.lr_at(0, 100) == pytest.approx(0.004)
    assert config.lr_at(25, 100) == pytest.approx(0.1)
    assert config.lr_at(100 - 75 // 2 - 1, 100) == pytest.approx(0.05, abs=0.002)
    assert config.lr_at(100, 100) == pytest.approx(0)
    assert max(range(100), key=lambda step: config.lr_at(step, 100)) == 25


def test_the_objective_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0], [0.5, -1.0]])
    targets = torch.tensor([1, 1])
    soft = torch.tensor([[0.0, 4.0], [2.0, 0.0]])
    config = TrainConfig(label_smoothing=0.0, distill_weight=0.7, temperature=2.0)
    entropy = sum(-math.log(math.exp(row[1]) / sum(map(math.exp, row))) for row in logits.tolist())
    divergence = 0.0
    for teacher, student in zip(soft.tolist(), logits.tolist(), strict=True):
        p = [math.exp(v / 2) / sum(math.exp(w / 2) for w in teacher) for v in teacher]
        q = [math.exp(v / 2) / sum(math.exp(w / 2) for w in student) for v in student]
        divergence += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    expected = 0.3 * entropy / 2 + 0.7 * 4 * divergence / 2
    assert float(objective(logits, targets, soft, config)) == pytest.approx(expected, rel=1e-5)
    plain = objective(logits, targets, None, config)
    torch.testing.assert_close(plain, F.cross_entropy(logits, targets))


def test_indecision_by_hand() -> None:
    def reading(kind: str, weights: list[object]) -> TapReading:
        return TapReading(kind, torch.tensor(weights), (1, 1), None)  # type: ignore[arg-type]

    # Two pictures. Each weight is open for one of them and shut for the other.
    tells = reading("channel", [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert float(infomax_penalty([tells])) == 0
    pattern = reading(
        "channel", [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    )  # as sharp, but it tells nothing
    assert float(infomax_penalty([pattern])) == pytest.approx(4 * 0.25)
    all_open = reading("spatial", [[[1.0, 1.0]], [[1.0, 1.0]]])
    assert float(infomax_penalty([all_open])) == pytest.approx(4 * 0.25)
    undecided = reading("volume", [[[[0.5, 0.5]]], [[[0.5, 0.5]]]])
    assert float(infomax_penalty([undecided])) == pytest.approx(0.25)
    sharp = reading("pool", [[1.0, 0.0], [0.0, 1.0]])
    assert float(infomax_penalty([sharp])) == pytest.approx(0, abs=1e-6)
    same = reading("pool", [[1.0, 0.0], [1.0, 0.0]])
    assert float(infomax_penalty([same])) == pytest.approx(1, abs=1e-6)
    even = reading("token", [[[[0.5, 0.5]]], [[[0.5, 0.5]]]])
    assert float(infomax_penalty([even])) == pytest.approx(1)
    leaning = reading("pool", [[0.75, 0.25], [0.25, 0.75]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(infomax_penalty([leaning])) == pytest.approx(entropy / math.log(2))
    assert float(infomax_penalty([sharp, undecided])) == pytest.approx(0.125)


def test_the_effect_of_attention_is_judged_by_what_it_changes() -> None:
    logits, without = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    right = float(counterfactual_loss(logits, without, torch.tensor([0])))
    assert right == pytest.approx(math.log(1 + math.exp(-2)))  # the change is (2, 0)
    unchanged = float(counterfactual_loss(logits, logits, torch.tensor([0])))
    assert unchanged == pytest.approx(math.log(2))  # however sure the network is


@pytest.mark.parametrize("attention", ["spatial", "self_attention"])
def test_half_of_a_batch_gets_the_mean_in_the_place_of_its_weights(attention: str) -> None:
    model = small(attention, stages=("block4",), blend="replace").eval()
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        with intervene(model, average_second_half):
            learned, other = model(torch.cat((x, x))).chunk(2)
        torch.testing.assert_close(learned, model(x))
        uniform = REPLACEMENTS["uniform"]
        with intervene(model, lambda _, kind, w: uniform(kind, w, torch.Generator())):
            torch.testing.assert_close(other, model(x))
    assert (learned - other).abs().max() > 1e-6


@pytest.mark.slow
def test_a_price_on_attention_without_effect_makes_the_network_need_it(tmp_path: Path) -> None:
    def lost(counterfactual: float, seed: int) -> float:
        """How much likelier the right class becomes through attention, after training."""
        torch.manual_seed(0)
        model = small("gate", stages=("block4",), blend="replace")
        config = replace(CONFIG, epochs=12, attention_lr=10.0, seed=seed)
        config = replace(config, counterfactual=counterfactual)
        pictures = coloured(48)
        file = tmp_path / f"{counterfactual}-{seed}"
        train(model, pictures, pictures, PREPROCESS, config, file)
        x = normalise(pictures.pixels, PREPROCESS, torch.device("cpu"))
        with torch.no_grad(), intervene(model, average_second_half):
            learned, other = model.eval()(torch.cat((x, x))).softmax(1).chunk(2)
        of = pictures.targets[:, None]
        return float((learned.gather(1, of) - other.gather(1, of)).mean())

    # A mean over seeds: how far one run goes also hangs on how many threads add up its numbers.
    with_price, without = ([lost(price, seed) for seed in (3, 4, 5)] for price in (1.0, 0.0))
    assert sum(with_price) / 3 > sum(without) / 3 + 0.3


def test_attention_learns_at_its_own_rate(tmp_path: Path) -> None:
    def moved(**changes: float) -> dict[str, float]:
        model = small("cbam", stages=("block5",), blend="replace")
        before = {key: value.clone() for key, value in model.state_dict().items()}
        config = replace(CONFIG, epochs=1, momentum=1e-6, weight_decay=0.0, **changes)
        one_batch = Examples(coloured(8).pixels, coloured(8).targets)
        train(model, one_batch, coloured(8), PREPROCESS, config, tmp_path / "c")
        return {
            key: float((value - before[key]).abs().sum())
            for key, value in model.state_dict().items()
            if value.is_floating_point()
        }

    once, tenfold = moved(attention_lr=1.0), moved(attention_lr=10.0)
    assert once["classifier.0.weight"] == pytest.approx(tenfold["classifier.0.weight"], rel=1e-3)
    for key in ("channel.mlp.0.weight", "spatial.conv.weight"):
        path = f"attention.block5.module.{key}"
        assert tenfold[path] == pytest.approx(10 * once[path], rel=0.02), key


def test_paying_for_indecision_makes_gates_tell_pictures_apart() -> None:
    logits = torch.randn(16, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(200):
        optimizer.zero_grad()
        infomax_penalty([TapReading("channel", logits.sigmoid(), (1, 1), None)]).backward()
        optimizer.step()
    gates = logits.detach().sigmoid()
    assert float((gates * (1 - gates)).mean()) < 0.01
    open_for = (gates > 0.5).float().mean(0)  # about half of the pictures
    assert 0.3 < float(open_for.min()) <= float(open_for.max()) < 0.7


def test_the_loop_pays_for_indecision(tmp_path: Path) -> None:
    def gates(contrast: float) -> torch.Tensor:
        model = small("se", stages=("block4",), blend="replace")
        config = replace(CONFIG, epochs=1, contrast=contrast)
        train(model, coloured(), coloured(8), PREPROCESS, config, tmp_path / "c")
        return model.state_dict()["attention.block4.module.excite.weight"].clone()

    assert torch.equal(gates(0.0), gates(0.0))
    assert not torch.equal(gates(0.0), gates(1.0))


@pytest.mark.slow
def test_fit_writes_weights_that_load(tmp_path: Path) -> None:
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for label, colour in (("red", (200, 30, 30)), ("green", (30, 200, 30))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(15):
            shade = int(torch.randint(0, 40, (), generator=generator))
            colour_now = tuple(min(255, c + shade) for c in colour)
            Image.new("RGB", (40, 36), colour_now).save(tmp_path / "data" / label / f"{number}.png")
    told: list[Progress] = []
    out = tmp_path / "own.safetensors"
    measured = run_training(
        tmp_path / "data",
        out,
        replace(CONFIG, epochs=16, lr=0.05),
        NetworkChoice(attention="spatial", width=0.125, stages=("block4",)),
        report=told.append,
    )
    assert measured == {"top1": 1}  # no top-5 of two classes
    assert {path.name for path in tmp_path.iterdir()} == {
        "data",
        "own.curve.png",
        "own.history.json",
        "own.safetensors",
        "own.tensorboard",
    }
    history = json.loads((tmp_path / "own.history.json").read_text())
    assert [entry["epoch"] for entry in history] == list(range(16))
    with Image.open(tmp_path / "own.curve.png") as picture:
        assert min(picture.size) > 400
    assert list((tmp_path / "own.tensorboard").rglob("events*"))
    assert told[-1].step == told[-1].steps == 48
    model, card = load_network(out)
    assert card.labels == ("green", "red")
    assert card.facts["validation"] == measured
    assert card.backbone is None
    assert card.facts["recipe"]["epochs"] == 16
    assert model.config.stages == ("block4",)
    assert model.gammas()["block4"] != 0
    with pytest.raises(ValueError, match=r"written as \.safetensors"):
        run_training(tmp_path / "data", tmp_path / "x.pth", CONFIG, NetworkChoice())

"""From pictures to a weights file: adapters, what is taken over, and what stops it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from typer.testing import CliRunner, Result

pytest.importorskip("accelerate", reason="needs the extra 'train'")

from vggviz import ATTENTION, AttentionType, Explainer
from vggviz.app.own import SIZE, OwnNetwork
from vggviz.cli import app
from vggviz.data import open_dataset
from vggviz.evaluation import evaluate
from vggviz.hooks.tap import Tap
from vggviz.images import Preprocess
from vggviz.networks import NetworkConfig, build_network
from vggviz.training import TrainConfig, TrainError
from vggviz.training.loop import set_trainable
from vggviz.training.run import NetworkChoice, run_training
from vggviz.training.seed_study import run_seed_study
from vggviz.weights import (
    Card,
    WeightsError,
    as_written,
    load_network,
    read_backbone,
    read_card,
    save_network,
)
from vggviz.weights.publish import model_card

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
CONFIG = TrainConfig(epochs=3, image_sizes=(32,), batch=8, lr=0.05)


def draw(folder: Path, count: int, labels: tuple[str, ...] = ("green", "red")) -> Path:
    """`count` noisy squares of each colour."""
    generator = np.random.default_rng(0)
    for label in labels:
        (folder / label).mkdir(parents=True)
        for number in range(count):
            noise = generator.integers(-35, 35, (40, 40, 3))
            pixels = np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """A small network of two classes, in the folder where the others will be written."""
    config = NetworkConfig(head="gap", architecture="vgg19_bn", width=0.125, num_classes=2)
    model = build_network(config, torch.Generator().manual_seed(7))
    card = Card("small", config, Preprocess(32, 32), ("green", "red"))
    save_network(model, card, tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def entries(file: Path) -> set[str]:
    with safe_open(file, framework="pt") as opened:
        return set(opened.keys())


@pytest.mark.slow
def test_a_frozen_backbone_gives_an_adapter(tmp_path: Path, backbone: Path) -> None:
    data, out = draw(tmp_path / "data", 15), tmp_path / "own.safetensors"
    network = NetworkChoice(str(backbone), "se", stages=("block4", "block5"))
    run_training(data, out, replace(CONFIG, freeze_backbone=True), network)
    kept = entries(out)
    assert out.stat().st_size < backbone.stat().st_size / 3
    assert not any(key.startswith("features.0.") for key in kept)
    assert {key for key in kept if key.startswith("attention.")} == {
        key for key in load_network(out)[0].state_dict() if key.startswith("attention.")
    }
    assert "classifier.0.weight" in kept
    model, card = load_network(out)
    assert "- `validation`: `{" in str(model_card("user/own", card)).split("## Data and recipe")[0]
    assert card.backbone == read_backbone(backbone)
    stem = load_network(backbone)[0].state_dict()
    assert torch.equal(model.state_dict()["features.0.weight"], stem["features.0.weight"])
    assert model.config.stages == ("block4", "block5")
    explanation = Explainer.load(out).explain(data / "red" / "0.png")
    assert explanation.provenance["weights"] == "own"
    assert set(explanation.attention) == {"block4", "block5"}


def test_other_classes_get_a_head_of_their_own_and_the_same_ones_keep_it(
    tmp_path: Path, backbone: Path
) -> None:
    still = replace(CONFIG, epochs=1, lr=1e-12, freeze_backbone=True, train_from="block5")
    source = load_network(backbone)[0].state_dict()["classifier.0.weight"]
    same, other = tmp_path / "same.safetensors", tmp_path / "other.safetensors"
    run_training(draw(tmp_path / "two", 8), same, still, NetworkChoice(str(backbone)))
    found = load_network(same)[0].state_dict()["classifier.0.weight"]
    torch.testing.assert_close(found, source, rtol=0, atol=1e-6)
    run_training(
        draw(tmp_path / "blue", 8, ("blue", "red")), other, still, NetworkChoice(str(backbone))
    )
    found = load_network(other)[0].state_dict()["classifier.0.weight"]
    assert found.shape == source.shape
    assert not torch.allclose(found, source, atol=1e-3)
    assert load_network(other)[1].labels == ("blue", "red")


def test_attention_that_is_there_goes_on_learning(tmp_path: Path, backbone: Path) -> None:
    data, first = draw(tmp_path / "data", 8), tmp_path / "first.safetensors"
    run_training(
        data,
        first,
        CONFIG,
        NetworkChoice(str(backbone), "eca", stages=("block5",), blend="replace"),
    )
    still = replace(CONFIG, epochs=1, lr=1e-12)
    second = tmp_path / "second.safetensors"
    run_training(data, second, still, NetworkChoice(str(first), "eca"))
    one, two = load_network(first)[0], load_network(second)[0]
    assert two.config == one.config
    key = "attention.block5.module.conv.weight"
    torch.testing.assert_close(two.state_dict()[key], one.state_dict()[key], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="no attention 'magic'"):
        run_training(data, second, still, NetworkChoice(str(first), "magic"))


def test_a_start_in_another_folder_is_taken_in_whole(tmp_path: Path, backbone: Path) -> None:
    out = tmp_path / "elsewhere" / "own.safetensors"
    config = replace(CONFIG, epochs=1, freeze_backbone=True)
    data, beside = draw(tmp_path / "data", 8), tmp_path / "own.safetensors"
    run_training(data, beside, config, NetworkChoice(str(backbone), "se"))
    with pytest.raises(WeightsError, match="with --out in another folder for a whole file"):
        OwnNetwork.admit(beside)
    run_training(data, out, config, NetworkChoice(str(backbone), "se"))
    assert OwnNetwork.admit(out).attention == "se"
    assert load_network(out)[1].backbone is None
    assert "features.0.weight" in entries(out)


def test_an_adapter_that_learns_on_stands_on_the_same_backbone(
    tmp_path: Path, backbone: Path
) -> None:
    data, config = draw(tmp_path / "data", 8), replace(CONFIG, epochs=1, freeze_backbone=True)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    run_training(data, first, config, NetworkChoice(str(backbone), "se"))
    run_training(data, second, config, NetworkChoice(str(first), "se"))
    run_training(data, first, config, NetworkChoice(str(first), "se"))  # in its own place
    for file in (first, second):
        assert read_card(file).backbone == read_backbone(backbone)
        assert "features.0.weight" not in entries(file)


def test_what_no_adapter_can_stand_on_is_taken_in_whole(tmp_path: Path, backbone: Path) -> None:
    """The file that is written itself, and a link from elsewhere."""
    data, config = draw(tmp_path / "data", 8), replace(CONFIG, epochs=1, freeze_backbone=True)
    link = tmp_path / "elsewhere" / "link.safetensors"
    link.parent.mkdir()
    link.symlink_to(backbone)
    linked = tmp_path / "linked.safetensors"
    run_training(data, linked, config, NetworkChoice(str(link), "se"))
    run_training(data, backbone, config, NetworkChoice(str(backbone), "se"))
    for file in (linked, backbone):
        model, card = load_network(file)
        assert card.backbone is None
        assert entries(file) == set(model.state_dict())


def test_where_convolutions_learn_the_file_is_whole(tmp_path: Path, backbone: Path) -> None:
    """It would be no smaller as an adapter, and need the other file."""
    data, out = draw(tmp_path / "data", 8), tmp_path / "own.safetensors"
    once = replace(CONFIG, epochs=1)
    run_training(data, out, once, NetworkChoice(str(backbone), "se"))
    assert load_network(out)[1].backbone is None
    assert entries(out) == set(load_network(out)[0].state_dict())
    run_training(data, out, replace(once, train_from="block4"), NetworkChoice(str(backbone), "se"))
    assert load_network(out)[1].backbone == read_backbone(backbone)
    assert "features.0.weight" not in entries(out)


def test_random_weights_are_nothing_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to start from: choose 'none' for a fresh netw"):
        run_training(
            draw(tmp_path / "data", 8),
            tmp_path / "own.safetensors",
            CONFIG,
            NetworkChoice("random"),
        )


@pytest.mark.parametrize("keeps", [{"freeze_backbone": True}, {"train_from": "block2"}])
def test_random_layers_are_not_kept(
    tmp_path: Path, backbone: Path, keeps: dict[str, object]
) -> None:
    config, out = replace(CONFIG, **keeps), tmp_path / "new" / "own.safetensors"  # type: ignore[arg-type]
    known = (
        r"--weights everyday, imagenet, .*imagenet-resnet50, lite, a \.safetensors file, or hf:user"
    )
    with pytest.raises(ValueError, match=rf"a fresh network is random: start from .*{known}"):
        run_training(tmp_path / "no data", out, config, NetworkChoice())
    assert not out.parent.exists()
    model, card = load_network(backbone)
    save_network(model, replace(card, trained="nothing"), backbone)
    with pytest.raises(ValueError, match=rf"small\.safetensors was never trained: .*{known}"):
        run_training(draw(tmp_path / "data", 8), out, config, NetworkChoice(str(backbone)))
    assert not out.exists()


def test_a_finished_run_is_not_overwritten(tmp_path: Path, backbone: Path) -> None:
    data, out = draw(tmp_path / "data", 8), tmp_path / "own.safetensors"
    once, network = (
        replace(CONFIG, epochs=1),
        NetworkChoice(str(backbone), "se", stages=("block5",)),
    )
    run_training(data, out, once, network)
    before = {file: file.read_bytes() for file in tmp_path.glob("own.*") if file.is_file()}
    goes_on = rf"own\.safetensors is finished and stays as it is: .*\(--weights {out}\)"
    with pytest.raises(TrainError, match=rf"{goes_on} with another --out$"):
        run_training(data, out, once, network, resume=True)
    longer, other = (
        replace(once, epochs=4, batch=0, image_sizes=()),
        replace(network, attention="eca"),
    )
    with pytest.raises(TrainError, match=goes_on) as refused:
        run_training(data, out, longer, other, resume=True)
    assert str(refused.value).endswith(
        "these settings are not those it was trained with: "
        'epochs 4 (before: 1), attention "eca" (before: "se")'
    )
    assert {file: file.read_bytes() for file in before} == before
    (tmp_path / "there.checkpoint.safetensors").touch()
    with pytest.raises(
        TrainError,
        match=rf"no checkpoint mistyped\.checkpoint\.safetensors in {tmp_path}, which has "
        r"there\.checkpoint\.safetensors: give the --out of the run",
    ):
        run_training(data, tmp_path / "mistyped.safetensors", once, network, resume=True)
    with pytest.raises(TrainError, match="no checkpoint own"):
        run_training(data, tmp_path / "no" / "such" / "own.safetensors", once, network, resume=True)
    assert not (tmp_path / "no").exists()
    run_training(data, tmp_path / "next.safetensors", once, NetworkChoice(str(out), "se"))
    assert read_card(tmp_path / "next.safetensors").config.stages == ("block5",)


class Edge(nn.Module):
    """Lets features pass only while a number is what float32 holds: float16 rounds it to 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("edge", torch.tensor(1 + 2**-12))
        self.weights = Tap("volume")

    def forward(self, x: Tensor) -> Tensor:
        gate = (self.edge > 1).float().expand(x.shape)
        return x * self.weights(gate, (x.shape[2], x.shape[3]))


def test_accuracy_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = AttentionType(Edge, "Edge", "Passes features on in float32.")
    monkeypatch.setitem(ATTENTION, "edge", edge)
    data, out = tmp_path / "data", tmp_path / "own.safetensors"
    draw(data / "train", 16)
    draw(data / "val", 8)
    config = replace(CONFIG, epochs=8)
    network = NetworkChoice(attention="edge", stages=("block5",), blend="replace", width=0.125)
    found = run_training(data, out, config, network)
    history = json.loads((tmp_path / "own.history.json").read_text())
    assert history[-1]["validation_top1"] == 1
    assert found == read_card(out).facts["validation"] == {"top1": 0.5}
    judged = evaluate({"none": Explainer.load(out)}, open_dataset(data, "val"), rounds=6)
    assert judged.results["none"].top1.value == found["top1"]
    compared = run_seed_study(
        data, tmp_path / "runs", config, ("edge",), (0,),
        width=0.125, blend="replace", stages=("block5",),
    )  # fmt: skip
    assert compared.top1["edge"] == (0.5,)
    assert compared.top5 == {}


def test_a_state_as_written_is_the_one_that_loads(tmp_path: Path, backbone: Path) -> None:
    model = build_network(load_network(backbone)[1].config, torch.Generator().manual_seed(3))
    state = model.state_dict()
    state["features.0.weight"] = load_network(backbone)[0].state_dict()["features.0.weight"] + 1e-9
    model.load_state_dict(state)
    out = tmp_path / "own.safetensors"
    for under in (None, read_backbone(backbone)):
        save_network(model, replace(read_card(backbone), backbone=under), out)
        found, loaded = as_written(state, under, out), load_network(out)[0].state_dict()
        assert found.keys() == loaded.keys()
        assert ("features.0.weight" in entries(out)) == (under is None)
        for key, value in loaded.items():
            assert torch.equal(found[key], value), key
            assert found[key].dtype == value.dtype, key


def test_full_size_vgg19_gives_a_file_that_the_page_takes(tmp_path: Path) -> None:
    """By what would be written, without an hour of training: shapes only."""
    config = NetworkConfig("self_attention", num_classes=100)  # the largest attention
    with torch.device("meta"):
        model = build_network(config)
    set_trainable(model, "block1", frozen=True)
    learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 2 * learns < SIZE
    set_trainable(model, "block1", frozen=True, whole_head=True)
    assert 2 * sum(p.numel() for p in model.parameters() if p.requires_grad) > 239e6


def test_from_nothing_a_size_is_needed_and_from_weights_it_is_theirs(
    tmp_path: Path, backbone: Path
) -> None:
    data = draw(tmp_path / "data", 8)
    with pytest.raises(ValueError, match="needs image_sizes"):
        run_training(
            data, tmp_path / "x.safetensors", replace(CONFIG, image_sizes=()), NetworkChoice()
        )
    config = replace(CONFIG, image_sizes=(), epochs=1, batch=0)
    run_training(data, tmp_path / "own.safetensors", config, NetworkChoice(str(backbone)))
    recipe = load_network(tmp_path / "own.safetensors")[1].facts["recipe"]
    assert recipe["image_sizes"] == [32]
    assert recipe["batch"] == 2  # an eighth of 14 pictures, and never one: norms need two


def test_classes_and_counts_are_said_before_it_starts(tmp_path: Path) -> None:
    data = draw(tmp_path / "data" / "Training", 10).parent
    draw(data / "Testing", 3)
    (data / "Training" / "red" / "scan.dcm").write_bytes(b"x")
    (data / "Training" / "red" / ".ipynb_checkpoints").mkdir()
    words = ["train", "--data", data, "--out", tmp_path / "own.safetensors", "--epochs", 1]
    words += ["--image-sizes", 32, "--batch", 8, "--width", 0.125]
    program = "from vggviz.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2 classes, 16 training pictures and 4 for validation:"
    assert [line.split() for line in lines[1:3]] == [["8", "+", "2", c] for c in ("green", "red")]
    assert lines[3].startswith("epoch 1: validation")
    assert done.stderr.startswith("ignored: 1 hidden, 1 .dcm\n")


def test_what_the_command_line_says(tmp_path: Path, backbone: Path) -> None:
    data, out = draw(tmp_path / "data", 8), tmp_path / "own.safetensors"

    def run(*more: object) -> Result:
        words = ["train", "--data", data, "--out", out, "--epochs", 1, "--batch", 4, *more]
        return CliRunner().invoke(app, [str(word) for word in words])

    for option in (["--freeze-backbone"], ["--train-from", "block4"]):
        refused = run(*option)
        assert refused.exit_code == 2
        assert "(--weights everyday, imagenet, imagenet_bn, imagenet-vgg11" in refused.stderr
    assert "--whole-head goes with --freeze-backbone" in run("--whole-head").stderr
    from_weights = ("--weights", backbone, "--freeze-backbone", "--stages", "block5")
    done = run(*from_weights)
    assert done.exit_code == 0, done.stderr
    assert re.search(r": validation \d+\.\d% \(top-1 of 2 classes\), \d+ kB\n", done.stdout)
    assert done.stdout.endswith(f"vggviz serve --weights {out}\n")
    before = out.read_bytes()
    finished = run(*from_weights, "--resume", "--lr", 0.5)
    assert finished.exit_code == 2
    assert "vggviz: own.safetensors is finished and stays as it is: to go" in finished.stderr
    assert finished.stderr.endswith("trained with: lr 0.5 (before: 0.01)\n")
    assert out.read_bytes() == before
    facts = read_card(out).facts
    old = {"lr": "rate", "attention_lr": "attention_rate", "image_sizes": "sizes"}
    recipe = {old.get(name, name): value for name, value in facts["recipe"].items()}
    model, card = load_network(out)
    save_network(model, replace(card, facts={**facts, "recipe": recipe}), out)
    assert run(*from_weights, "--resume", "--lr", 0.5).stderr == finished.stderr


@pytest.mark.slow
def test_killed_and_resumed_from_the_command_line(tmp_path: Path) -> None:
    """`vggviz train`, really killed, ends with the weights of a run that was not."""
    data = draw(tmp_path / "data", 20)
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"

    def words(out: Path, *more: str) -> list[str]:
        words = ["train", "--data", data, "--out", out, "--attention", "cbam", "--epochs", 4]
        return [*map(str, words), "--image-sizes", "32", "--batch", "8", "--width", "0.125", *more]

    def run(*words: str) -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in the process below: sums in another order differ
        try:
            done = CliRunner().invoke(app, words)
        finally:
            torch.set_num_threads(threads)
        assert done.exit_code == 0, (done.output, done.exception)

    run(*words(whole))
    program = "import torch; torch.set_num_threads(1); from vggviz.cli import main; main()"
    command = [sys.executable, "-c", program, *words(killed)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed.checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert checkpoint.exists()
    assert not killed.exists()
    run(*words(killed, "--resume"))
    assert not checkpoint.exists()
    one, two = load_network(whole)[0].state_dict(), load_network(killed)[0].state_dict()
    for key, value in one.items():
        assert torch.equal(value, two[key]), key
    histories = [
        json.loads((tmp_path / f"{n}.history.json").read_text()) for n in ("whole", "killed")
    ]
    timeless = [
        [{k: v for k, v in e.items() if "second" not in k} for e in history]
        for history in histories
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_nothing_half_written(tmp_path: Path) -> None:
    """No file may grow past some bytes: what a disk without space answers, but for its number."""
    data, out = draw(tmp_path / "data", 8), tmp_path / "own" / "own.safetensors"
    program = (
        "import errno, resource, signal, vggviz.cli.train as cli; from vggviz.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "errno.ENOSPC = errno.EFBIG\n"
        "main()"
    )
    words = [
        "train",
        "--data",
        data,
        "--out",
        out,
        "--image-sizes",
        32,
        "--batch",
        8,
        "--epochs",
        1,
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words), "--width", "0.125"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "vggviz: no space left on the disk for" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in out.parent.iterdir() if path.is_file()]

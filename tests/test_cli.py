"""The command line, as a person types it."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vggviz import VGGConfig, zoo
from vggviz.cli import app
from vggviz.images import Preprocess
from vggviz.vgg import VGG

EXAMPLES = zoo.assets() / "examples"


def vggviz(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "vggviz.cli", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = VGGConfig(
        attention="cbam", head="gap", batch_norm=True, width=0.125, num_classes=3, blend="replace"
    )
    model = VGG(config, torch.Generator().manual_seed(0))
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    zoo.save(model, zoo.Card("", config, Preprocess(64, 64), ("cat", "dog", "eel")), file)
    return file


def test_the_full_range_of_a_deep_picture(tmp_path: Path) -> None:
    deep = Image.fromarray(np.linspace(0, 4095, 80 * 80).reshape(80, 80).astype(np.uint16))
    deep.save(tmp_path / "scan.png")
    for option, stretched in ((), [0, 4095]), (("--full-range",), None):
        asked = (tmp_path / "scan.png", "--out", tmp_path, "--formats", "json", *option)
        run = vggviz("explain", *asked)
        assert ("values 0 to 4095 shown as black to white" in run.stdout) == (not option)
        told = json.loads((tmp_path / "scan.json").read_text("utf-8"))
        assert told["provenance"]["picture"]["stretched"] == stretched


def test_explain_many_with_one_bad_file(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("koala.jpg", "espresso.jpg"):
        (folder / name).write_bytes((EXAMPLES / name).read_bytes())
    with Image.open(EXAMPLES / "koala.jpg") as picture:
        picture.save(folder / "koala.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    out = tmp_path / "out"
    done = vggviz(
        "explain", folder, "--weights", weights, "--sites", "block4,block5", "--methods",
        "gradcam,layercam", "--target", "dog", "--precision", "gradients", "--out", out, code=1,
    )  # fmt: skip
    assert "broken.png" in done.stderr
    assert "1 of 4 pictures could not be explained" in done.stderr
    stems = ("espresso", "koala_jpg", "koala_png")
    assert sorted(file.name for file in out.iterdir()) == [
        f"{stem}.{kind}" for stem in stems for kind in ("json", "npz", "png")
    ]
    told = json.loads((out / "espresso.json").read_text())
    assert told["weights"] == "small"
    assert told["attention"] == "cbam"
    assert told["target"]["label"] == "dog"
    assert len(told["top"]) == 3
    assert told["provenance"]["precision"] == "gradients"
    with np.load(out / "espresso.npz") as arrays:
        assert {"crop", "block4/attention/channel", "block5/layercam"} <= set(arrays)
        assert not any(key.startswith("block1") for key in arrays)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "yak"], "no class 'yak'"),
        (["--sites", "block9"], "no layer 'block9'"),
        (["--weights", "nothing"], "no weights 'nothing'"),
        (["--attention", "magic"], "no attention 'magic'"),
        (["--methods", "cam"], "no method 'cam'"),
        (["--formats", "json,pdf"], "no format 'pdf'"),
        (["--formats", ","], "--formats needs one or more of json, npz, png, svg, html"),
        (["--precision", "fp8"], "no precision 'fp8'"),
        (["--engine", "spark"], "no engine 'spark': choose local or ray"),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    weights: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    chosen = words if "--weights" in words else ["--weights", str(weights), *words]
    done = vggviz("explain", EXAMPLES / "koala.jpg", *chosen, "--out", tmp_path / "out", code=2)
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_empty_password_does_not_open_the_page_to_everyone() -> None:
    """As `--password "$CHALK"` gives where there is no such variable."""
    done = vggviz("serve", "--classroom", "--password", "", code=2)
    assert done.stderr == "vggviz: --password must not be empty\n"


def test_models(tmp_path: Path) -> None:
    lines = json.loads(vggviz("models", "--json").stdout)
    assert {"weights", "attention", "parameters", "classes", "local"} == set(lines[0])
    assert {line["weights"] for line in lines} >= {"imagenet", "random"}
    assert "143,667,240" in vggviz("models").stdout


def test_train_in_one_command_then_explain(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    for label, colour in (("red", (200, 30, 30)), ("green", (30, 200, 30))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(10):
            shade = tuple(value + number for value in colour)
            Image.new("RGB", (40, 36), shade).save(tmp_path / "data" / label / f"{number}.png")
    (tmp_path / "data" / "red" / "x.png").write_bytes(b"broken")
    out = tmp_path / "own.safetensors"
    options = ["--attention", "se", "--epochs", 2, "--sizes", 32, "--batch", 4, "--width", 0.125]
    done = vggviz("train", "--data", tmp_path / "data", "--out", out, *options)
    assert "left out" in done.stderr
    assert "red/x.png" in done.stderr
    assert "validation" in done.stdout
    stopped = vggviz("train", "--data", tmp_path / "data", "--out", out, "--strict", code=2)
    assert "red/x.png" in stopped.stderr
    stopped = vggviz(
        "train", "--data", tmp_path / "data", "--out", out, "--classes", "red, blue", code=2
    )
    assert stopped.stderr == "vggviz: no class 'blue' in the data: it has green, red\n"
    vggviz("explain", EXAMPLES / "koala.jpg", "--weights", out, "--out", tmp_path / "o")
    assert json.loads((tmp_path / "o" / "koala.json").read_text())["attention"] == "se"


def break_pictures(data: Path) -> None:
    for file in (data / "train" / "red").iterdir():
        file.write_bytes(b"broken")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda data: shutil.rmtree(data), "no data at "),
        (lambda data: shutil.rmtree(data / "val" / "red"), "'val' lacks 'red'"),
        (lambda data: (data / "val" / "blue").mkdir(), "'train' lacks 'blue'"),
        (lambda data: [shutil.rmtree(data / p / "red") for p in ("train", "val")], "2 classes"),
        (lambda data: (data / "val" / "red" / "0.png").unlink(), "'red' has no pictures in the"),
        (lambda data: shutil.rmtree(data / "val"), "'train' without one named 'val'"),
        (break_pictures, "class 'red' has no picture that can be read"),
    ],
)
def test_bad_training_data_is_one_sentence_and_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Path], object],
    sentence: str,
) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    data, out = tmp_path / "data", tmp_path / "own.safetensors"
    for part, label in itertools.product(("train", "val"), ("red", "green")):
        (data / part / label).mkdir(parents=True)
        Image.new("RGB", (32, 32), label).save(data / part / label / "0.png")
    harm(data)
    words = ["train", "--data", str(data), "--out", str(out), "--sizes", "32"]
    assert app(words, standalone_mode=False) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("vggviz: ")
    assert sentence in lines[-1]
    assert all(line.startswith("left out: ") for line in lines[:-1])
    assert [file.name for file in tmp_path.iterdir() if file != data] == []

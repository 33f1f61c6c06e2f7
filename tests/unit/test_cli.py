"""The command line, as a person types it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from vggviz import NetworkConfig
from vggviz.cli import app, console, main
from vggviz.images import Preprocess
from vggviz.networks import build_network
from vggviz.weights import Card, assets_folder, save_network

EXAMPLES = assets_folder() / "examples"
Here = Callable[..., tuple[str, str]]


def vggviz(*words: object, code: int = 0) -> Result:
    """The command in this process: one of its own takes seconds to import torch."""
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == code, (done.output, done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done


def command(
    *words: object, code: int = 0, env: Mapping[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own. `more` is for `subprocess.run`, which decodes what was
    printed as UTF-8."""
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", **more}
    done = subprocess.run(
        [sys.executable, "-m", "vggviz.cli", *map(str, words)],
        check=False,
        env={**os.environ, **(env or {})},
        **given,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in (done.stderr or "")
    return done


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """The same in this process, which saves the seconds of its start: (stdout, stderr)."""

    def run(*words: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["vggviz", *map(str, words)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capfd.readouterr()
        assert done.value.code == code, err
        return out, err

    return run


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = NetworkConfig(
        attention="cbam",
        head="gap",
        architecture="vgg19_bn",
        width=0.125,
        num_classes=3,
        blend="replace",
    )
    model = build_network(config, torch.Generator().manual_seed(0))
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_network(model, Card("", config, Preprocess(64, 64), ("cat", "dog", "eel")), file)
    return file


def test_the_full_range_of_a_deep_picture(tmp_path: Path) -> None:
    deep = Image.fromarray(np.linspace(0, 4095, 80 * 80).reshape(80, 80).astype(np.uint16))
    deep.save(tmp_path / "scan.png")
    for option, stretched in ((), [0, 4095]), (("--full-range",), None):
        asked = (tmp_path / "scan.png", "--out", tmp_path, "--formats", "json", *option)
        run = vggviz("explain", *asked)
        assert ("values 0 to 4095 of the picture file" in run.stdout) == (not option)
        told = json.loads((tmp_path / "scan.json").read_text("utf-8"))
        assert told["provenance"]["picture"]["stretched"] == stretched


@pytest.mark.slow
def test_explain_many_with_one_bad_file(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("koala.jpg", "espresso.jpg"):
        (folder / name).write_bytes((EXAMPLES / name).read_bytes())
    with Image.open(EXAMPLES / "koala.jpg") as picture:
        picture.save(folder / "koala.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "vggviz.cli", "explain", folder, "--weights", weights, "--stages",
        "block4,block5", "--methods", "gradcam,layercam", "--target", "dog", "--precision", "bf16",
        "--out", out,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
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
    assert told["provenance"]["precision"] == "bf16"
    with np.load(out / "espresso.npz") as arrays:
        assert {"crop", "block4/attention/channel", "block5/layercam"} <= set(arrays)
        assert not any(key.startswith("block1") for key in arrays)


def test_explaining_twice_explains_no_figures_and_subfolders_are_mirrored(
    weights: Path, tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "a/cat.jpg", "a/b/cat.png", "a/b/cat.jpg", "a/b/Cat.bmp"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(EXAMPLES / "koala.jpg") as picture:
            picture.save(name)
    asked = ("--weights", weights, "--stages", "block5", "--formats", "json,png")
    first, _ = here("explain", ".", *asked)
    made = sorted(file.relative_to("out").as_posix() for file in Path("out").rglob("*.*"))
    stems = ("a/b/Cat_bmp", "a/b/cat_jpg", "a/b/cat_png", "a/cat", "cat")
    assert made == sorted(f"{stem}.{kind}" for stem in stems for kind in ("json", "png"))
    assert here("explain", ".", *asked)[0] == first
    # Results in another folder are figures, too, whatever it is called.
    said, complained = here("explain", tmp_path, *asked, "--out", "second")
    assert "left out 5 figures that vggviz made" in complained
    assert len(said.splitlines()) == 5


def test_a_result_never_replaces_a_picture(weights: Path, tmp_path: Path, here: Here) -> None:
    with Image.open(EXAMPLES / "koala.jpg") as picture:
        picture.save(tmp_path / "koala.png")
    before = (tmp_path / "koala.png").read_bytes()
    _, err = here("explain", tmp_path, "--weights", weights, "--out", tmp_path, code=2)
    assert "is a picture that a result would replace: choose another folder" in err
    assert (tmp_path / "koala.png").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["koala.png"]


def test_names_that_no_terminal_should_get_and_that_are_no_utf8(
    weights: Path, tmp_path: Path, here: Here
) -> None:
    folder = os.fsencode(tmp_path)
    names = [b"caf\xe9.jpg", b"\x1b[31mred\x1b]0;title\x07.jpg", b"\xe2\x80\xaegpj.cod.jpg"]
    for name in names:
        shutil.copy(EXAMPLES / "koala.jpg", folder + b"/" + name)
    Path(os.fsdecode(folder + b"/\x1b[2Jbroken\n.jpg")).write_bytes(b"no picture")
    asked = ("--weights", weights, "--stages", "block5", "--formats", "json,npz,png,svg,html")
    out, err = here("explain", tmp_path, *asked, "--out", tmp_path / "out", code=1)
    assert all(letter.isprintable() for letter in (out + err).replace("\n", ""))
    assert r"caf\udce9.jpg: " in out
    assert r"\x1b[31mred\x1b]0;title\x07.jpg: " in out
    assert r"\x1b[2Jbroken\n.jpg: " in err
    assert len(list((tmp_path / "out").iterdir())) == 15


def test_weights_whose_name_is_no_utf8_are_said_before_any_work(
    weights: Path, tmp_path: Path, here: Here
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.safetensors"))
    shutil.copy(weights, odd)
    sentence = "vggviz: caf\\udce9.safetensors can't be opened: its path is no UTF-8, rename it\n"
    assert here("explain", EXAMPLES / "koala.jpg", "--weights", odd, code=2)[1] == sentence
    assert here("train", "--data", EXAMPLES, "--out", odd, code=2)[1].endswith(sentence)


def test_a_console_that_lacks_letters(weights: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "koala.jpg", tmp_path / "猫.jpg")
    asked = ("--weights", weights, "--stages", "block5", "--formats", "json")
    env = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = command("explain", tmp_path / "猫.jpg", *asked, "--out", tmp_path / "out", env=env)
    assert (tmp_path / "out" / "猫.json").is_file()
    assert r"\u732b.jpg: " in done.stdout
    assert " -> " in done.stdout


def test_lines_are_in_a_file_before_the_command_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a server's log stays empty while it runs."""
    file = tmp_path / "log"
    with file.open("w") as opened, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", opened)
        with console.lenient_output():
            print("Running on http://127.0.0.1:7860")
            assert file.read_text() == "Running on http://127.0.0.1:7860\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_standard_output_loses_no_result(weights: Path, tmp_path: Path) -> None:
    pictures = [EXAMPLES / name for name in ("koala.jpg", "espresso.jpg")]
    asked = ("--weights", weights, "--stages", "block5", "--formats", "json")
    with Path("/dev/full").open("w") as full:
        done = command("explain", *pictures, *asked, "--out", tmp_path / "out", code=1, stdout=full)
        assert done.stderr == (
            "vggviz: standard output can't be written: No space left on device\n"
        )
        assert len(list((tmp_path / "out").iterdir())) == 2
        command("--help", code=1, stdout=full, stderr=full)


def test_who_reads_no_further_loses_no_result(weights: Path, tmp_path: Path) -> None:
    pictures = [EXAMPLES / name for name in ("koala.jpg", "espresso.jpg")]
    asked = ("--weights", weights, "--stages", "block5", "--formats", "json")
    reading, writing = os.pipe()
    os.close(reading)
    done = command("explain", *pictures, *asked, "--out", tmp_path / "out", code=1, stdout=writing)
    os.close(writing)
    assert done.stderr == ""
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("name", ["x" * 300 + ".safetensors", "x" * 300, "\x1b[31m.safetensors"])
def test_impossible_names_are_one_sentence(tmp_path: Path, here: Here, name: str) -> None:
    for words in (
        ("explain", EXAMPLES / "koala.jpg", "--weights", name),
        ("explain", name, "--out", tmp_path),
        ("evaluate", "--data", name),
        ("evaluate", "--data", EXAMPLES.parent, "--weights", name),
        ("train", "--data", name, "--out", tmp_path / "a.safetensors"),
        ("train", "--data", EXAMPLES.parent, "--out", tmp_path / name),
        ("compare", "--data", EXAMPLES.parent, "--out", tmp_path / name, "--classes", name),
    ):
        code = 1 if words[:2] == ("explain", name) and len(name) < 255 else 2
        _, err = here(*words, code=code)
        assert all(letter.isprintable() for letter in err.replace("\n", "")), words
        assert len(err.splitlines()) <= 3, err
        assert list(tmp_path.rglob("*")) == [], words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gradcam, layercam", ("gradcam", "layercam")),
        (" a ,, b,", ("a", "b")),
        ('koala,"tabby, tabby cat", "a ""b"""', ("koala", "tabby, tabby cat", 'a "b"')),
        ('5" pipe,b', ('5" pipe', "b")),
        ("", ()),
    ],
)
def test_words_between_commas(text: str, expected: tuple[str, ...]) -> None:
    assert console.split_list(text) == expected


@pytest.mark.parametrize("text", ['"a,b', '"a"b,c', "a\nb"])
def test_what_is_no_list_is_said(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        console.split_list(text)
    assert "is no list with commas" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"), [("3", [0, 1, 2]), ("4,7", [4, 7]), ("2,", [2]), (" 7, 0,7", [7, 0])]
)
def test_seeds_are_a_number_or_a_list(text: str, expected: list[int]) -> None:
    assert console.parse_seeds(text) == expected


@pytest.mark.parametrize("text", ["", ",", "0", "-1", "1.5", "three", "1,x", "²"])
def test_other_seeds_are_a_sentence(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        console.parse_seeds(text)
    assert "--seeds is how many, such as 3, or which, such as 0,3,7" in capsys.readouterr().err


def test_blanks_after_commas_mean_nothing(weights: Path, tmp_path: Path, here: Here) -> None:
    out, _ = here(
        "explain", EXAMPLES / "koala.jpg", "--weights", weights, "--stages", "block5, block4",
        "--methods", "gradcam, layercam", "--formats", "json, npz", "--out", tmp_path,
    )  # fmt: skip
    assert "koala.jpg: " in out
    with np.load(tmp_path / "koala.npz") as arrays:
        assert {"block4/layercam", "block5/gradcam"} <= set(arrays)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "yak"], "no class 'yak'"),
        (["--stages", "block9"], "no layer 'block9'"),
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
    weights: Path, tmp_path: Path, here: Here, words: list[str], message: str
) -> None:
    chosen = words if "--weights" in words else ["--weights", str(weights), *words]
    _, err = here("explain", EXAMPLES / "koala.jpg", *chosen, "--out", tmp_path / "out", code=2)
    assert message in err
    assert not (tmp_path / "out").exists()


def test_an_empty_password_does_not_open_the_page_to_everyone() -> None:
    """As `--password "$CHALK"` gives where there is no such variable."""
    done = vggviz("serve", "--classroom", "--password", "", code=2)
    assert done.stderr == "vggviz: --password must not be empty\n"


def test_models() -> None:
    lines = json.loads(vggviz("models", "--json").stdout)
    assert {"weights", "attention", "parameters", "classes", "local"} == set(lines[0])
    assert {line["weights"] for line in lines} >= {"imagenet", "random"}
    assert "143,667,240" in vggviz("models").stdout


@pytest.mark.slow
def test_train_in_one_command_then_explain(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs the extra 'train'")
    for label, colour in (("red", (200, 30, 30)), ("green", (30, 200, 30))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(10):
            shade = tuple(value + number for value in colour)
            Image.new("RGB", (40, 36), shade).save(tmp_path / "data" / label / f"{number}.png")
    (tmp_path / "data" / "red" / "x.png").write_bytes(b"broken")
    out = tmp_path / "own.safetensors"
    options = [
        "--attention",
        "se",
        "--epochs",
        2,
        "--image-sizes",
        32,
        "--batch",
        4,
        "--width",
        0.125,
    ]
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
        (lambda data: shutil.rmtree(data / "val"), "class 'green' has 1 picture and needs 2"),
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
    words = ["train", "--data", str(data), "--out", str(out), "--image-sizes", "32"]
    assert app(words, standalone_mode=False) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("vggviz: ")
    assert sentence in lines[-1]
    assert all(line.startswith("left out: ") for line in lines[:-1])
    assert [file.name for file in tmp_path.iterdir() if file != data] == []


def test_hidden_files_and_other_endings_are_passed_over(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / ".thumbnails").mkdir(parents=True)
    koala = (EXAMPLES / "koala.jpg").read_bytes()
    for name in ("a.JFIF", "b.jpe", ".thumbnails/c.jpg"):
        (folder / name).write_bytes(koala)
    (folder / "._a.jpg").write_bytes(b"\0\5\x16\7" + bytes(100))
    (folder / "d.svg").write_text("<svg/>")
    out = tmp_path / "out"
    done = vggviz("explain", folder, "--weights", weights, "--formats", "json", "--out", out)
    assert done.stderr == f"{folder}: ignored: 2 hidden, 1 .svg\n"
    assert sorted(file.name for file in out.iterdir()) == ["a.json", "b.json"]

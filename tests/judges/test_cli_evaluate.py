"""`vggviz evaluate`, as a person types it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

pytest.importorskip("scipy", reason="needs the extra 'train'")
pytest.importorskip("torchmetrics", reason="needs the extra 'train'")

from vggviz import NetworkConfig
from vggviz.cli import app
from vggviz.data import HALVES, half_of
from vggviz.images import Preprocess
from vggviz.networks import build_network
from vggviz.weights import Card, save_network

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "evaluate-on-your-own-boxes.md"


def run(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "pets"
    generator = np.random.default_rng(0)
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (root / part / label).mkdir(parents=True)
            for number in range(3):
                noise = generator.integers(0, 256, (36, 36, 3), dtype=np.uint8)
                Image.fromarray(noise).save(root / part / label / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    files: dict[str, Path] = {}
    for name, attention, seed in (("bare", "none", 0), ("se", "se", 1), ("again", "se", 2)):
        config = NetworkConfig(
            attention, head="gap", architecture="vgg19_bn", width=0.125, num_classes=2
        )
        model = build_network(config, torch.Generator().manual_seed(seed))
        files[name] = folder / f"{name}.safetensors"
        save_network(model, Card("", config, Preprocess(32, 32), ("cat", "dog")), files[name])
    return files


@pytest.mark.slow
def test_a_file_alone(data: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "new" / "found.json"
    done = run("--weights", weights["se"], "--data", data, "--json", file, "--seed", 3)
    told = json.loads(file.read_text("utf-8"))
    assert list(told["results"]) == ["se"]
    assert (told["reference"], told["pictures"], told["seed"]) == ("se", 6, 3)
    assert told["results"]["se"]["against"] is None
    assert told["results"]["se"]["pointing"] is None
    assert told["machine"]["cores"] >= 1
    assert "| se" in done.stdout
    assert f"torch {torch.__version__}" in done.stdout
    assert [path.name for path in file.parent.iterdir()] == ["found.json"]


def test_a_file_against_a_file(data: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    run("--weights", weights["se"], "--against", weights["bare"], "--data", data, "--json", file)
    told = json.loads(file.read_text("utf-8"))
    assert (list(told["results"]), told["reference"]) == (["none", "se"], "none")
    assert told["results"]["se"]["against"]["p"] <= 1
    both = run("--weights", weights["se"], "--against", weights["again"], "--data", data)
    assert "top-1 − again" in both.stdout  # two of one type go by their files' names


def test_data_without_parts_is_used_as_a_whole(data: Path, weights: dict[str, Path]) -> None:
    done = run("--weights", weights["bare"], "--data", data / "train", "--batch", 2)
    assert "all pictures are used, training pictures too" in done.stderr
    assert "6 pictures of 2 classes" in done.stdout


def test_the_part_to_judge_by(data: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    """'test' where there is one and no 'val', or where it is asked for; by any usual name."""
    mri = tmp_path / "mri"
    shutil.copytree(data / "train", mri / "Training")
    shutil.copytree(data / "val", mri / "Testing")
    (mri / "Testing" / "cat" / "2.png").unlink()
    (mri / "Testing" / "cat" / "._1.png").write_bytes(b"\0\5\x16\7")
    (mri / "notes.txt").write_text("x")
    for part, count in (([], 5), (["--part", "test"], 5), (["--part", "Training"], 6)):
        done = run("--weights", weights["bare"], "--data", mri, *part)
        assert f"{count} pictures of 2 classes" in done.stdout
        assert done.stderr == "ignored: 1 hidden, 1 .txt\n"
    done = run("--weights", weights["bare"], "--data", mri, "--part", "val", code=2)
    assert "no part 'val' with classes: it has the parts 'train', 'test'" in done.stderr


def boxed(data: Path, root: Path) -> list[str]:
    """Eight pictures with VOC's XML beside them; the box of the last is wider than the picture."""
    names = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(4)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "val" / name[:3] / "0.png", root / name)
        edges = {"xmin": 1, "ymin": 1, "xmax": 90 if name == "dog/3.png" else 20, "ymax": 30}
        box = "".join(f"<{key}>{value}</{key}>" for key, value in edges.items())
        xml = f"<annotation><object><name>{name[:3]}</name><bndbox>{box}</bndbox></object>"
        (root / name).with_suffix(".xml").write_text(f"{xml}</annotation>")
    return names


@pytest.mark.slow
def test_the_page_on_boxes_can_be_followed(
    data: Path,
    weights: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    boxed(data, tmp_path / "pets" / "val")
    for folder in ("cat", "dog"):  # the one wrong box would stop it
        (tmp_path / "pets" / "val" / folder / "3.xml").unlink()
    shutil.copy(weights["bare"], "mine.safetensors")
    (code,) = re.findall(r"^```python\n(.*?)^```", HOW_TO.read_text("utf-8"), re.M | re.S)
    exec(compile(code, str(HOW_TO), "exec"), {})
    assert "MaxBoxAccV2 |" in capsys.readouterr().out


@pytest.mark.slow
def test_one_half_chooses_and_the_other_reports(
    data: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "pets"
    names = boxed(data, root)
    (root / "cat" / "0.xml").unlink()
    assert [half_of(f"{n}.png") for n in range(4)] == ["report", "choose"] * 2
    for half in HALVES:
        out = tmp_path / half
        words = ["--weights", weights["bare"], "--data", root, "--half", half, "--out", out]
        done = run(
            *words, "--metrics", "localisation", "--stages", "block5", "--methods", "gradcam"
        )
        assert "cat/0.png has no box of its class" in done.stderr
        outside = "left out: dog/3.png has the box 0, 0, 90, 30, which lies outside the picture"
        assert outside in done.stderr  # also where the half 'choose' is for thresholds alone
        content = json.loads((out / "maps.json").read_text())
        (row,) = [r for r in content["rows"] if (r["map"], r["measure"]) == ("gradcam", "pointing")]
        assert row["count"] == sum(
            (name != "dog/3.png") and (name != "cat/0.png") and half_of(name) == half
            for name in names
        )
        with_thresholds = any(row["measure"] == "MaxBoxAccV2" for row in content["rows"])
        assert with_thresholds == (half == "report")  # chosen on the other half
    done = run("--weights", weights["bare"], "--data", root, "--half", "second", code=2)
    assert "no half 'second': choose from choose, report" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attention", "magic"], "no attention 'magic'"),
        (["--weights", "nothing"], "no weights 'nothing'"),
        (["--weights", "{se}", "--attention", "se"], "brings its own attention"),
        (["--weights", "{se}", "--against", "{se}"], "can't be compared with itself"),
        (["--against", "{se}"], "compares two weights files"),
        (["--weights", "{se}", "--data", "{se}"], "neither a folder nor a zip file"),
        (["--weights", "{se}", "--data", "nowhere"], "no data at nowhere"),
        (["--weights", "{se}", "--data", "{data}/train", "--part", "val"], "no part 'val'"),
        (["--weights", "{se}", "--json", "{data}"], "is a folder, --json needs a file"),
        (["--weights", "{se}", "--json", "{se}/found.json"], "no folder {se} for --json"),
        (["--attention", "none"], "the weights 'everyday' do not know the class 'cat' of the data"),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    words: list[str], message: str, data: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "found.json"
    chosen = [word.format(se=weights["se"], data=data) for word in words]
    if "--data" not in chosen:
        chosen += ["--data", str(data)]
    if "--json" not in chosen:
        chosen += ["--json", str(file)]
    done = run(*chosen, code=2)
    assert message.format(se=weights["se"]) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not file.exists()


def test_an_unreadable_picture(data: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "broken"
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        (root / label / "a.png").write_bytes((data / "val" / label / "0.png").read_bytes())
    (root / "cat" / "b.png").write_bytes(b"broken")
    done = run("--weights", weights["bare"], "--data", root)
    assert "left out: cat/b.png" in done.stderr
    assert "1 more can't be read" in done.stdout
    file = tmp_path / "found.json"
    stopped = run("--weights", weights["bare"], "--data", root, "--strict", "--json", file, code=2)
    assert "cat/b.png" in stopped.stderr
    assert not file.exists()


# --metrics -----------------------------------------------------------------------------------


def judged(weights: Path, data: Path, out: Path, *words: object, code: int = 0) -> Result:
    given = ("--weights", weights, "--data", data, "--out", out, "--metrics")
    return run(*given, *(words or ("agreement,causality",)), "--stages", "block4,block5", code=code)


def test_maps_are_judged(data: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = judged(weights["se"], data, out, "agreement,causality", "--pictures", 4, "--seed", 2)
    assert sorted(path.name for path in out.iterdir()) == [
        "maps.csv", "maps.html", "maps.json", "maps.md", "parts"
    ]  # fmt: skip
    told = json.loads((out / "maps.json").read_text("utf-8"))
    assert told["settings"]["pictures"] == 4
    assert told["settings"]["seed"] == 2
    assert {row["metric"] for row in told["rows"]} == {"agreement", "causality"}
    assert {row["map"] for row in told["rows"]} == {"gradcam", "layercam", "attention"}
    assert told["machine"]["cores"] >= 1
    lines = (out / "maps.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + len(told["rows"])
    assert (out / "maps.md").read_text("utf-8") == done.stdout
    assert "| se" in done.stdout
    before = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    again = judged(weights["se"], data, out, "agreement,causality", "--pictures", 4, "--seed", 2)
    assert again.stdout.split("\n\n")[:-1] == done.stdout.split("\n\n")[:-1]
    assert {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()} == before


def test_another_seed(data: Path, weights: dict[str, Path], tmp_path: Path) -> None:
    done = judged(weights["se"], data, tmp_path, "agreement", "--reseed-weights", weights["again"])
    assert "ρ, other seed" in done.stdout
    assert "no ceiling" not in done.stdout
    wrong = judged(
        weights["se"], data, tmp_path, "agreement", "--reseed-weights", weights["bare"], code=2
    )
    assert "has 'none', which is not evaluated" in wrong.stderr
    twice = ["--reseed-weights", weights["again"]] * 2
    wrong = judged(weights["se"], data, tmp_path, "agreement", *twice, code=2)
    assert "has 'se', of which another file was given already" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["magic"], "no metric 'magic': choose from agreement"),
        (["agreement", "--methods", "x"], "no method 'x'"),
        (["agreement", "--methods", "layercam"], "agreement compares with 'gradcam'"),
        (["agreement", "--json", "{data}/x.json"], "--metrics writes to --out"),
        (["agreement", "--reseed-weights", "nothing.safetensors"], "nothing.safetensors"),
        (["agreement", "--out", "{se}/x"], "for --out"),
    ],
)
def test_wrong_words_about_maps_are_answered_in_one_line(
    words: list[str], message: str, data: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    chosen = [word.format(se=weights["se"], data=data) for word in words]
    done = judged(weights["se"], data, tmp_path, *chosen, code=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("missing", ["scipy", "torchmetrics"])
def test_without_the_extra_it_says_what_to_install(missing: str, data: Path) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['vggviz', 'evaluate', "
        f"'--data', {str(data)!r}]; from vggviz.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    sentence = f"vggviz: evaluating needs {missing}: pip install 'vggviz[train]'\n"
    assert (done.returncode, done.stderr) == (2, sentence)

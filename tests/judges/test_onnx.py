"""Exported files: onnxruntime computes what `Explainer` shows, without PyTorch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import exports
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from vggviz.attention import ATTENTION
from vggviz.cam import METHODS
from vggviz.cli import app
from vggviz.explainer import Explainer
from vggviz.hooks.capture import Change, intervene
from vggviz.types import Heatmap

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is missing")
onnx = pytest.importorskip("onnx")

from vggviz.export.check import differences  # noqa: E402
from vggviz.export.onnx_file import write_onnx  # noqa: E402
from vggviz.export.trace import ExportError, Traceable  # noqa: E402

ROOT = Path(__file__).parents[2]
CAT = ROOT / "assets" / "examples" / "tabby-cat.jpg"
FAST = [name for name, method in METHODS.items() if not method.slow]
NEAR = 1e-4


def session(file: Path) -> Any:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


def properties(file: Path) -> dict[str, Any]:
    found = session(file).get_modelmeta().custom_metadata_map
    return {key: json.loads(value) for key, value in found.items()}


class Chain(nn.Module):
    """Attention of these types, one after another, on 8 × 8 positions."""

    def __init__(self, *keys: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.types = nn.ModuleDict({key: ATTENTION[key].module(8) for key in keys})
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        for module in self.types.values():
            x = module(x)
        logits: Tensor = self.last(x.mean((2, 3)))
        return logits

    def intervene(self, change: Change) -> AbstractContextManager[None]:
        return intervene(self, change)


def chain(*keys: str, methods: Sequence[str], **options: Any) -> Traceable:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = Chain(*keys).eval()
    return Traceable(model, 16, {key: f"types.{key}" for key in keys}, methods, **options)


KINDS = ("cbam", "self_attention", "softmax", "simam", "coordinate", "selective_kernel")
OTHERS = tuple(key for key in ATTENTION if key not in KINDS)


@pytest.mark.parametrize("keys", [KINDS, pytest.param(OTHERS, marks=pytest.mark.slow)])
def test_every_type(keys: tuple[str, ...], tmp_path: Path) -> None:
    network = chain(*keys, methods=["gradcam"])
    write_onnx(network, tmp_path / "types.onnx", {})
    far = differences(tmp_path / "types.onnx", network)
    assert {f"gradcam/{key}" for key in keys} < set(far)
    kinds = {name.split("/")[2] for name in far if name.startswith("attention/")}
    if keys == KINDS:
        all_kinds = {"channel", "spatial", "token", "pool", "volume", "axis", "axis.2", "branch"}
        assert kinds == all_kinds
    assert max(far.values()) < NEAR, far


def test_every_method_with_attention_as_an_input(tmp_path: Path) -> None:
    network = chain("spatial", "gate", methods=FAST, attention_in=True)
    write_onnx(network, tmp_path / "methods.onnx", {})
    far = differences(tmp_path / "methods.onnx", network)
    assert {f"{method}/{stage}" for method in FAST for stage in ("spatial", "gate")} < set(far)
    assert max(far.values()) < NEAR, far
    names = [one.name for one in session(tmp_path / "methods.onnx").get_inputs()]
    painted = ["attention_in/spatial/spatial", "attention_in/gate/volume"]
    assert names == ["pixels", "target", *painted]
    # What is painted is what the network works with.
    values = [torch.rand(one.shape) for one in network.inputs.values()]
    outputs = network(values[0], torch.zeros(2).long(), *values[2:])
    torch.testing.assert_close(outputs["attention/spatial/spatial"], values[2])


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command line writes of the bundled network."""
    file = tmp_path_factory.mktemp("onnx") / "cat.onnx"
    words = f"export --attention cbam --stages block5 --uint8 --half --out {file}"
    done = CliRunner().invoke(app, [*words.split(), "--methods", "gradcam,layercam"])
    assert done.exit_code == 0, done.output
    assert re.search(r"/cat\.onnx: \d+\.\d MB, 5 outputs, at most \de-\d+ from", done.output)
    return file


def test_a_second_file_takes_painted_weights(tmp_path: Path) -> None:
    plain, painted = tmp_path / "plain.onnx", tmp_path / "painted.onnx"
    words = f"export --attention spatial --stages block5 --out {plain} --attention-in {painted}"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.output.splitlines()] == [str(plain), str(painted)]
    explainer = Explainer.load("everyday", "spatial")
    pixels = explainer.preprocess(Image.open(CAT))
    inputs = {"pixels": pixels.numpy(), "target": np.array([-1])}
    own, weights = session(plain).run(["logits", "attention/block5/spatial"], inputs)
    kept = np.full_like(weights, np.nan)
    once = session(painted)
    for given, expected in ((kept, own), (weights, own)):
        found = once.run(["logits"], {**inputs, "attention_in/block5/spatial": given})[0]
        np.testing.assert_allclose(found, expected, atol=NEAR)
    inverted = torch.from_numpy(1 - weights)
    (place,) = explainer.model.attention_paths(["block5"])

    def paint(path: str, _: str, learned: Tensor) -> Tensor:
        return inverted.reshape(learned.shape) if path.startswith(place) else learned

    with explainer.model.intervene(paint):
        expected = explainer.model(pixels)
    inputs["attention_in/block5/spatial"] = 1 - weights
    np.testing.assert_allclose(once.run(["logits"], inputs)[0], expected, atol=NEAR)
    assert np.abs(own - expected.numpy()).max() > 0.01


def assert_shown(raw: Any, own: Heatmap) -> None:
    """A raw map is that of the heatmap, but for what float16 does to weights."""
    np.testing.assert_allclose((raw - own.low) / (own.high - own.low), own.values, atol=0.01)


def test_a_picture_as_the_explainer_shows_it(cat: Path) -> None:
    explainer = Explainer.load("everyday", "cbam")
    expected = explainer.explain(CAT, "block5", ("gradcam", "layercam"), target="koala")
    pixels = expected.image.transpose(2, 0, 1)[None]
    names = ["logits", "attention/block5/spatial", "gradcam/block5", "layercam/block5"]
    inputs = {"pixels": pixels, "target": np.array([expected.target.index])}
    logits, spatial, *maps = session(cat).run(names, inputs)
    np.testing.assert_allclose(logits[0], expected.prediction.logits, atol=2e-3)  # float16
    np.testing.assert_allclose(spatial[0], expected.attention["block5"][1].weights, atol=2e-3)
    for method, found in zip(("gradcam", "layercam"), maps, strict=True):
        assert_shown(found[0], expected.heatmaps["block5", method])
    predicted = session(cat).run(["gradcam/block5"], {**inputs, "target": np.array([-1])})[0]
    assert_shown(predicted[0], explainer.explain(CAT, "block5").heatmaps["block5", "gradcam"])
    assert not np.allclose(predicted, maps[0], atol=1e-4)


def test_what_the_file_says_about_itself(cat: Path) -> None:
    explainer = Explainer.load("everyday", "cbam")
    found = properties(cat)
    assert found["labels"] == list(explainer.labels)
    assert found["preprocess"] == explainer.preprocess.to_json()
    assert found["provenance"]["fingerprint"] == explainer.card.fingerprint
    assert found["licence"] == explainer.card.facts["licence"]
    assert found["attention"]["attention/block5/spatial"] == {
        "path": "attention.block5.module.spatial.spatial",
        "kind": "spatial",
        "shape": [5, 5],
        "grid": [5, 5],
        "keys": None,
    }
    (pixels, target) = session(cat).get_inputs()
    assert (pixels.name, pixels.shape, pixels.type) == ("pixels", ["N", 3, 80, 80], "tensor(uint8)")
    assert (target.name, target.shape, target.type) == ("target", ["N"], "tensor(int64)")
    assert cat.stat().st_size < 11e6
    assert b"vggviz/cam/driver.py" not in cat.read_bytes()  # nor stack traces with local files


def test_the_how_to_runs_without_pytorch(cat: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / "onnx.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 10
    (tmp_path / "cat.onnx").symlink_to(cat)
    (tmp_path / "cat.jpg").symlink_to(CAT)
    code += "\nimport sys; assert 'torch' not in sys.modules; assert heat.shape == (5, 5)\n"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    best = Explainer.load("everyday", "cbam").explain(CAT).prediction.top(1)[0]
    assert run.stdout.strip() == best.label


class Foreign(nn.Module):
    """Layers whose derivatives PyTorch has as operators of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(inplace=True)
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.mean = nn.AvgPool2d(3, 1, 1)
        self.norm = nn.LayerNorm(8)
        self.heads = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fit = nn.AdaptiveAvgPool2d(3)
        self.classify = nn.Linear(72, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = self.mean(x * self.squeeze(x))
        tokens = self.norm(x.flatten(2).mT)
        tokens = tokens + self.heads(tokens, tokens, tokens, need_weights=False)[0]
        x = tokens.mT.reshape(x.shape).relu_()
        logits: Tensor = self.classify(self.fit(nn.functional.gelu(x)).flatten(1))
        return logits


def test_a_network_of_someone_else(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        explainer = Explainer.of(Foreign(), size=32)
    file, methods = tmp_path / "own.onnx", ("gradcam", "attention*gradient")
    far = explainer.export(file, "stem,pool,norm,fit", methods, attention_in=True)
    kinds = {name.rsplit("/")[-1] for name in far if name.startswith("attention/")}
    assert kinds == {"channel", "token"}
    assert {"gradcam/stem", "gradcam/norm", "attention*gradient/norm"} <= set(far)
    painted = {one.name for one in session(file).get_inputs()} - {"pixels", "target"}
    assert painted == {"attention_in/pool/channel", "attention_in/norm/token"}
    assert max(far.values()) < NEAR, far


def test_grouped_convolutions_whose_weights_lie_channels_last(tmp_path: Path) -> None:
    """Second derivatives of groups fix the batch, and of 1×1 weights PyTorch calls both orders
    contiguous: pooling then changes strides in place."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 1, 1, groups=4), nn.ReLU()]
        layers += [nn.Conv2d(12, 12, 1), nn.Softplus(), nn.AdaptiveAvgPool2d(1)]
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 5))
        explainer = Explainer.of(network.to(memory_format=torch.channels_last), size=24)
    far = explainer.export(tmp_path / "groups.onnx", "0,3", ("gradcam", "shapleycam"))
    assert {"gradcam/0", "shapleycam/0"} < set(far)
    assert max(far.values()) < NEAR, far
    assert network[1].groups == 4  # a copy was changed


class Eigenvalues(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x.mean(1))[:, :4]


class Counting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).reshape(len(x), -1)


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        return y if y.sum() > 0 else -y


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (Counting(), r"this network's code fixes the number of pictures in a batch, .*"),
        (Undecided(), r"this network or method can't be written as one graph: \w+: .+"),
        (Eigenvalues(), "ONNX has no operator for '_linalg_eigh', which this network or .*"),
    ],
)
def test_what_has_no_graph_is_named_in_one_sentence(
    model: nn.Module, sentence: str, tmp_path: Path
) -> None:
    network: Any = nn.Sequential(nn.Conv2d(3, 3, 1), model).eval()
    with pytest.raises(ExportError) as error:
        write_onnx(Traceable(network, 16, {"first": "0"}, ()), tmp_path / "no.onnx", {})
    assert re.fullmatch(sentence, str(error.value))
    assert not any(tmp_path.iterdir())


def test_a_method_of_many_passes_is_refused(tmp_path: Path) -> None:
    words = f"export --methods scorecam --out {tmp_path / 'no.onnx'}"
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 2
    assert done.output.startswith(
        "vggviz: Score-CAM runs the network many times, which a file can't"
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("TEST_ONNX"), reason="takes half an hour: set TEST_ONNX=1")
@pytest.mark.parametrize("row", exports.ROWS, ids=exports.Row.title)
def test_all_networks_of_the_table(row: exports.Row) -> None:
    found = exports.measured(row)
    assert max(found["logits"], found["attention"]) < NEAR
    # Where rounding turns a ReLU on or off, a map jumps: as a rule at low stages, or at none.
    assert found["maps"] < 0.02
    assert max(found["near"], found["near_ordered"]) > 0.4 * found["outputs"]
    assert found["bytes"] > 1e6

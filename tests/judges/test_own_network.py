"""From a file of weights to a figure, by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seed_listing
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from vggviz.cli import app

LISTING = Path(seed_listing.__file__)


def run(*words: object, code: int = 0) -> str:
    """What the command printed, errors included."""
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def saved(name: str, file: Path, form: str) -> nn.Module:
    """A trained network of 5 classes, whose weights are saved as people do."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model: nn.Module = getattr(seed_listing, name)(num_classes=5)
    state = model.state_dict()
    if form == "module.":
        state = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 3, "state_dict": state} if form == "wrapped" else state, file)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "form"), [("vgg16", "plain"), ("vgg19", "module."), ("vgg19", "wrapped")]
)
def test_from_file_to_figure(name: str, form: str, tmp_path: Path, picture: Path) -> None:
    model = saved(name, tmp_path / "my.pth", form)
    labels = ["tench", "goldfish", "white shark", "tiger shark", "ray"]
    (tmp_path / "labels.txt").write_text("\n".join(labels) + "\n", "utf-8")
    own = ["--network", f"{LISTING}:{name}", "--checkpoint", tmp_path / "my.pth", "--size", 64]
    out = tmp_path / "out"
    more = ["--labels", tmp_path / "labels.txt", "--mean", "0.4,0.5,0.6", "--std", 0.25]
    run("explain", picture, "--out", out, *more, *own)

    told = json.loads((out / "cat.json").read_text("utf-8"))
    assert told["provenance"]["config"] == {
        "network": f"seed_listing.py:{name}",
        "attention": "channel, spatial, token, volume",
        "num_classes": 5,
        "multi_label": False,
    }
    assert (told["weights"], told["note"]) == ("my.pth", "")
    with Image.open(out / "cat.png") as figure:
        assert figure.size[0] > 500
    assert told["provenance"]["preprocess"]["mean"] == [0.4, 0.5, 0.6]
    assert told["provenance"]["preprocess"]["std"] == [0.25, 0.25, 0.25]
    arrays = np.load(out / "cat.npz")
    crop = torch.from_numpy(arrays["crop"]).movedim(-1, 0).float() / 255
    mean, std = (torch.tensor(told["provenance"]["preprocess"][key]) for key in ("mean", "std"))
    seen: dict[str, Any] = {}
    model.get_submodule("cbam.channel_gate").register_forward_hook(
        lambda _, __, output: seen.update(weights=output)
    )
    with torch.no_grad():
        logits = model(((crop - mean[:, None, None]) / std[:, None, None])[None])[0]
    assert told["target"]["label"] == labels[int(logits.argmax())]
    assert told["top"][0]["probability"] == pytest.approx(float(logits.softmax(0).max()), abs=1e-5)
    found = arrays["cbam.channel_gate/attention/channel"]
    assert np.array_equal(found, seen["weights"][0, :, 0, 0].numpy())

    rows = json.loads(run("find", picture, *own, "--json"))["attention"]
    assert [row["kind"] for row in rows] == [
        *["channel"] * 5, "volume", "channel", "spatial", "token",
    ]  # fmt: skip
    assert rows[-1]["path"] == "self_attention.attention"
    assert rows[-1]["shape"] == [4, 4, 4]
    assert rows[6]["range"] == [float(found.min()), float(found.max())]
    table = run("find", picture, *own).splitlines()
    assert table[0].split() == ["stage", "path", "kind", "shape", "range"]
    assert table[-1].split()[1:4] == ["self_attention.attention", "token", "4×4×4"]


def test_a_network_of_ours_is_meant_by_both_names(tmp_path: Path, picture: Path) -> None:
    more = ("--stages", "block5", "--formats", "json")
    run("explain", picture, "--out", tmp_path / "a", "--network", "everyday", *more)
    run("explain", picture, "--out", tmp_path / "b", "--weights", "everyday", *more)
    one, other = (json.loads((tmp_path / x / "cat.json").read_text("utf-8")) for x in "ab")
    assert one == other
    rows = json.loads(run("find", "--network", "everyday", "--json"))["attention"]
    assert [(row["stage"], row["kind"]) for row in rows][-1] == ("block5", "spatial")


def test_convert_writes_the_same_weights(tmp_path: Path) -> None:
    model = saved("vgg16", tmp_path / "my.pth", "wrapped")
    run("convert", tmp_path / "my.pth", tmp_path / "my.safetensors")
    state = load_file(tmp_path / "my.safetensors")
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    found = ["find", "--network", f"{LISTING}:vgg16", "--size", 64, "--json", "--checkpoint"]
    assert run(*found, tmp_path / "my.pth") == run(*found, tmp_path / "my.safetensors")


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, picture: Path) -> None:
    torch.save(seed_listing.vgg16(), tmp_path / "whole.pth")
    saved("vgg19", tmp_path / "other.pth", "plain")
    (tmp_path / "my.safetensors").touch()
    (tmp_path / "two.txt").write_text("a\nb\n", "utf-8")
    (tmp_path / "gap.txt").write_text("a\n\nb\n", "utf-8")
    own = ("explain", picture, "--network", f"{LISTING}:vgg16", "--size", 64)
    for words, sentence in [
        (("convert", tmp_path / "whole.pth"), "whole pickled network"),
        (("convert", tmp_path / "gone.pth", tmp_path / "my.safetensors"), "gone.pth"),
        (("convert", tmp_path / "my.safetensors"), "is a safetensors file already"),
        (("convert", tmp_path / "other.pth", tmp_path / "x.npz"), "ends in .safetensors"),
        ((*own, "--checkpoint", tmp_path / "whole.pth"), "whole pickled network"),
        ((*own, "--checkpoint", tmp_path / "other.pth"), "another network's"),
        ((*own, "--labels", tmp_path / "gap.txt"), "name a class on each of its lines"),
        ((*own, "--attention", "cbam"), "brings its own attention"),
        ((*own, "--mean", "a"), "--mean is one number, or three"),
        ((*own, "--std", "0.5,0.5"), "mean and std have 1 or 3 numbers"),
        ((*own, "--std", "0"), "std from 0.001 up"),
        (("explain", picture, "--size", 64), "--size can't be given with 'everyday'"),
        (("explain", picture, "--network", "torchvision:resnet5000"), "torchvision has no network"),
        (("explain", picture, "--network", f"{LISTING}:vgg11"), "the nearest are vgg1"),
        (("find", "--network", f"{LISTING}:vgg16", "--size", 8), "can't take a picture"),
    ]:
        printed = run(*words, code=2)
        assert sentence in printed, printed
        assert printed.count("\n") == 1, printed
    # Without weights labels tell the number of classes.
    run(*own, "--labels", tmp_path / "two.txt", "--out", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "cat.json").read_text("utf-8"))
    assert told["note"].startswith("untrained")
    assert [one["label"] for one in sorted(told["top"], key=lambda one: one["index"])] == ["a", "b"]


def test_a_network_of_timm(tmp_path: Path, picture: Path) -> None:
    """Its attention is that of a hook on its gate; picture settings are its own."""
    timm = pytest.importorskip("timm", reason="needs the extra 'timm'")
    from vggviz.explainer import Explainer

    explainer = Explainer.load("timm:legacy_seresnet18", size=64)
    assert explainer.card.trained == "nothing"
    assert list(explainer.preprocess.mean) == list(
        timm.create_model("legacy_seresnet18").pretrained_cfg["mean"]
    )
    explanation = explainer.explain(picture, stages="layer4.1.se_module,layer4")
    ((record,),) = explanation.attention.values()
    gate = explainer.model.get_submodule("layer4.1.se_module.sigmoid")
    seen: list[torch.Tensor] = []
    handle = gate.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        explainer.model(explainer.preprocess.normalise(explanation.image)[None])
    handle.remove()
    assert torch.equal(record.weights, seen[0][0, :, 0, 0])
    assert set(explanation.heatmaps) == {
        ("layer4.1.se_module", "gradcam"), ("layer4", "gradcam"),
    }  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
def test_the_last_self_attention_has_a_map(bias: bool) -> None:
    """Behind it only the class token counts: a map of its output would be flat.

    Without a bias a linear layer's output is no view in PyTorch; on some processors never.
    """
    timm = pytest.importorskip("timm", reason="needs the extra 'timm'")
    from vggviz.cam import cams
    from vggviz.networks import ForeignNetwork

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ForeignNetwork(
            timm.create_model("deit_tiny_patch16_224", img_size=64, qkv_bias=bias), 64
        )
    assert list(network.attention) == [f"blocks.{n}.norm1" for n in range(12)]
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    methods = ("layercam", "attention*gradient")
    maps = cams(network, x, ["blocks.11.norm1"], methods, [0]).maps
    assert all(found.shape == (1, 1, 4, 4) and found.max() > 0 for found in maps.values())

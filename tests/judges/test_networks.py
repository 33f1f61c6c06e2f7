"""Networks by name and weights by file: whatever is wrong is said in a sentence, and undone."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vggviz.networks import NetworkError, class_count, load_weights, open_network, read_checkpoint

Untouched = Callable[[nn.Module], AbstractContextManager[None]]


class Small(nn.Module):
    def __init__(self, num_classes: int = 7) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Inner(nn.Module):
    """Whose own names begin like a prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Small()


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(x, states[1][name]) for name, x in states[0].items()
    )


def prefixed(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: x for name, x in network.state_dict().items()}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pth.tar", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "model.backbone."])
def test_weights_arrive(suffix: str, prefix: str, tmp_path: Path) -> None:
    trained, fresh = Small(), Small()
    file = tmp_path / f"weights{suffix}"
    state = prefixed(prefix, trained)
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    state = read_checkpoint(file)
    load_weights(fresh, state)
    assert same(fresh, trained)
    assert class_count(state) == 7


@pytest.mark.parametrize(
    "keys", ["state_dict", "model", "net", "model_state_dict", "ema", "model net"]
)
def test_a_state_dict_is_found_where_it_lies(keys: str, tmp_path: Path) -> None:
    trained, fresh = Small(), Small()
    content: Any = trained.state_dict()
    for key in reversed(keys.split()):
        content = {"epoch": 3, key: content, "loss": torch.ones(1)}
    torch.save(content, tmp_path / "a.pth")
    load_weights(fresh, read_checkpoint(tmp_path / "a.pth"))
    assert same(fresh, trained)


def test_a_network_whose_names_begin_like_a_prefix() -> None:
    trained, fresh = Inner(), Inner()
    for prefix in ("", "module.", "model."):
        load_weights(fresh, prefixed(prefix, trained))
        assert same(fresh, trained)


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(Small(), tmp_path / "all.pth")
    with pytest.raises(NetworkError, match="a whole pickled network") as error:
        read_checkpoint(tmp_path / "all.pth")
    line = str(error.value).split("weights by ")[1].replace("'all.pth'", "str(old)")
    line = line.replace("'weights.pth'", "str(new)")
    exec(line, {"torch": torch, "old": tmp_path / "all.pth", "new": tmp_path / "new.pth"})
    load_weights(Small(), read_checkpoint(tmp_path / "new.pth"))


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": Small().state_dict(), "x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(NetworkError, match=r"Python objects \(.*mkdir.*\), and opening it would"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()
    content = {"state_dict": Small().state_dict(), "args": argparse.Namespace(lr=1)}
    torch.save(content, tmp_path / "args.pth")
    with pytest.raises(NetworkError, match=r"argparse.Namespace.*\[\"state_dict\"\]"):
        read_checkpoint(tmp_path / "args.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04" + b"\0" * 99])
def test_a_damaged_file_is_said(suffix: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / f"bad{suffix}"
    file.write_bytes(content)
    with pytest.raises(NetworkError, match=r"^bad.* is no readable checkpoint: it may be damaged$"):
        read_checkpoint(file)


def test_a_file_cut_short_is_said(tmp_path: Path) -> None:
    file = tmp_path / "cut.pth"
    torch.save(Small().state_dict(), file)
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(NetworkError, match="it may be damaged"):
        read_checkpoint(file)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(2), {"model": {"a": 1}}])
def test_what_is_no_state_dict_is_said(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(NetworkError, match=r"a\.pth holds no state dict"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"there is no file"):
        read_checkpoint(tmp_path / "a.pth")


def without(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: x for key, x in state.items() if key != name}


WRONG: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "missing": (lambda s: without("head.bias", s), r"head\.bias missing$"),
    "renamed": (
        lambda s: without("head.weight", s) | {"head.weigth": s["head.weight"]},
        r"head\.weight missing: the nearest are head\.weigth; head\.weigth unknown: the nearest",
    ),
    "another size": (
        lambda s: s | {"head.weight": torch.zeros(10, 4), "head.bias": torch.zeros(10)},
        r"head\.weight is \(10, 4\) and should be \(7, 4\); head\.bias is \(10,\)",
    ),
    "another network": (
        lambda s: {f"x{i}": torch.zeros(1) for i in range(9)},
        r"features\.0\.weight, features\.0\.bias, features\.1\.weight and 6 more missing; "
        r"x0, x1, x2 and 6 more unknown$",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_nothing_is_half_loaded(name: str, untouched: Untouched) -> None:
    change, message = WRONG[name]
    network, state = Small(), change(Small().state_dict())
    with untouched(network), pytest.raises(NetworkError, match=message):
        load_weights(network, state)


def test_no_classes_without_layers() -> None:
    with pytest.raises(NetworkError, match="no layer that could tell"):
        class_count({"a": torch.ones(3)})


# Networks by name ------------------------------------------------------------------------------

FILE = """
from dataclasses import dataclass
from torch import nn
from beside import WIDTH

@dataclass
class Config:
    width: int = WIDTH

class Net(nn.Sequential):
    def __init__(self, num_classes=3):
        super().__init__(nn.Flatten(), nn.Linear(Config().width, num_classes))

def build():
    return Net()

ready = Net(4)
number = 5

def wrong():
    return "no network"

def failing():
    raise KeyError("layers")
"""


def test_a_network_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("WIDTH = 6")
    file = f"{tmp_path}/mynet.py"
    assert open_network(f"{file}:Net", num_classes=9)[1].weight.shape == (9, 6)
    assert open_network(f"{file}:build", num_classes=9)[1].weight.shape == (3, 6)
    assert open_network(f"{file}:ready")[1].weight.shape == (4, 6)
    for name, message in {
        "number": "is no class, function or network",
        "wrong": "gives str, no network",
        "failing": "can't be built: KeyError: 'layers'",
        "biuld": r"mynet\.py has no 'biuld': the nearest are build",
    }.items():
        with pytest.raises(NetworkError, match=message):
            open_network(f"{file}:{name}")
    (tmp_path / "bad.py").write_text("import nothing_of_this_name")
    with pytest.raises(NetworkError, match=r"bad\.py can't be run: ModuleNotFoundError"):
        open_network(f"{tmp_path}/bad.py:Net")
    with pytest.raises(NetworkError, match=r"there is no file"):
        open_network(f"{tmp_path}/none.py:Net")
    with pytest.raises(NetworkError, match="brings no weights"):
        open_network(f"{file}:Net", pretrained=True)


def test_a_library_s_network() -> None:
    pytest.importorskip("torchvision")
    network = open_network("torchvision:squeezenet1_0", num_classes=5)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    with pytest.raises(NetworkError, match=r"torchvision has no network 'vgg91': .*vgg19"):
        open_network("torchvision:vgg91")
    pytest.importorskip("timm", reason="the package timm is missing")
    network = open_network("timm:test_vit.r160_in1k", num_classes=5).eval()
    assert network(torch.zeros(1, 3, 160, 160)).shape == (1, 5)
    with pytest.raises(NetworkError, match=r"timm has no network 'seresnet5o': .*seresnet50"):
        open_network("timm:seresnet5o")


@pytest.mark.parametrize("name", ["vgg19", "keras:vgg", "net.txt:Net", ""])
def test_what_is_no_network_is_said(name: str) -> None:
    with pytest.raises(NetworkError, match=r"write torchvision:NAME, timm:NAME or FILE.py:NAME"):
        open_network(name)

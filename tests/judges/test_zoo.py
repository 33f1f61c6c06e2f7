"""Weights in and out: what loads, what is refused, and how it is said."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from vggviz.attention import ATTENTION
from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights import (
    STOCK,
    Card,
    WeightsError,
    assets_folder,
    list_weights,
    load_backbone,
    load_network,
    push_to_hub,
    save_network,
)

SMALL = NetworkConfig(
    attention="cbam", head="gap", architecture="vgg19_bn", width=0.125, num_classes=3
)
CARD = Card("small", SMALL, Preprocess(64, 64), ("a", "b", "c"), ("n1", "n2", "n3"))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Network, Path]:
    model = build_network(SMALL, seeded())
    file = tmp_path / "small.safetensors"
    save_network(model, CARD, file)
    return model, file


def test_a_saved_network_comes_back_to_half_precision(saved: tuple[Network, Path]) -> None:
    model, file = saved
    loaded, card = load_network(file)
    assert card.config == SMALL
    assert card.labels == ("a", "b", "c")
    assert card.wnids == ("n1", "n2", "n3")
    assert card.preprocess == Preprocess(64, 64)
    assert len(card.fingerprint) == 64
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    state = loaded.state_dict()
    assert set(state) == set(model.state_dict())
    for key, value in model.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(state[key], expected), key
        assert state[key].dtype == value.dtype, key


def test_numbers_beyond_half_precision_are_kept(tmp_path: Path) -> None:
    model, file = build_network(SMALL, seeded()), tmp_path / "large.safetensors"
    variance = model.get_buffer("features.1.running_var")
    variance[0] = 1e6  # fp16 ends at 65,504
    save_network(model, CARD, file)
    loaded, _ = load_network(file)
    assert torch.equal(loaded.get_buffer("features.1.running_var"), variance)


def test_saving_leaves_no_other_file_and_replaces_whole(saved: tuple[Network, Path]) -> None:
    _, file = saved
    save_network(build_network(SMALL, seeded(1)), CARD, file)
    assert [path.name for path in file.parent.iterdir()] == ["small.safetensors"]


def test_a_failed_save_leaves_the_old_file(
    saved: tuple[Network, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = saved
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vggviz.weights.tensors.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_network(model, CARD, file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["small.safetensors"]


def _rewrite(file: Path, *, drop: str = "", shape: str = "", card: object = None) -> None:
    state = load_file(file)
    if drop:
        del state[drop]
    if shape:
        state[shape] = torch.zeros(7)
    text = json.dumps(CARD.to_json() if card is None else card)
    save_file(state, file, {"vggviz": text})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"drop": "features.0.weight"}, r"does not fit its own description: see features\.0\.wei"),
        ({"shape": "features.0.weight"}, r"does not fit its own description: see features\.0\.wei"),
        ({"card": {}}, "description in small.safetensors can't be read"),
        ({"card": [1]}, "description in small.safetensors can't be read"),
        ({"card": {**CARD.to_json(), "labels": ["a"]}}, "1 labels for 3 classes"),
        (
            {"card": {**CARD.to_json(), "config": {**SMALL.to_json(), "attention": "magic"}}},
            "no attention 'magic': choose one of none, gate",
        ),
    ],
)
def test_a_file_that_lies_is_refused_in_one_sentence(
    saved: tuple[Network, Path], damage: dict[str, object], message: str
) -> None:
    _, file = saved
    _rewrite(file, **damage)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=message):
        load_network(file)


def test_what_is_no_safetensors_file_is_refused(saved: tuple[Network, Path]) -> None:
    _, file = saved
    whole = file.read_bytes()
    for content in (b"", whole[:200], whole[: len(whole) // 2], pickle.dumps({"a": 1})):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"small\.safetensors is not a whole safetens"):
            load_network(file)
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match="not written by vggviz"):
        load_network(file)
    with pytest.raises(WeightsError, match=r"no weights file absent\.safetensors"):
        load_network(file.with_name("absent.safetensors"))
    with pytest.raises(WeightsError, match=r"no weights .model\.pth.: choose one of everyday"):
        load_network("model.pth")


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".PTH", ".bin", ""])
def test_what_another_program_wrote_is_named_and_not_opened(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    script, first = tmp_path / "ran", "is a"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (script,)

    def said() -> str:
        with pytest.raises(WeightsError) as refused:
            load_network(file)
        with pytest.raises(WeightsError) as pushed:
            push_to_hub("user/repo", file)
        assert str(pushed.value) == str(refused.value)
        return str(refused.value).removeprefix(file.name).strip()

    torch.save({"a": Evil()}, file)
    assert said().startswith(f"{first} PyTorch checkpoint (a zipped pickle); it is not opened, sin")
    torch.save({"a": Evil()}, file, _use_new_zipfile_serialization=False)
    assert said().startswith(f"{first} pickle, as older versions of PyTorch save checkpoints; it i")
    torch.jit.script(Scripted()).save(str(file))
    assert said().startswith(f"{first} TorchScript archive; it is not opened")
    assert "torch.jit.load(" in said()
    file.write_bytes(b"\x89HDF\r\n\x1a\n and so on")
    assert said().startswith("is a Keras or HDF5 file: only safetensors")
    save_file({"a": torch.zeros(1)}, file)
    assert said() == "is a safetensors file: give it a name that ends in .safetensors"
    for content in (b"", b"\x00", b"text"):
        file.write_bytes(content)
        known = suffix.lower() in (".pth", ".pt", ".ckpt")
        assert said().startswith("is a broken PyTorch" if known else "is no weights file that is")
    assert not script.exists()
    with pytest.raises(WeightsError, match=r"is a folder: give the \.safetensors file that is"):
        load_network(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match=r"^pipe is no file: expected a \.safetensors file$"):
        load_network(tmp_path / "pipe")


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_three_lines_convert_a_checkpoint(tmp_path: Path, wrapped: bool) -> None:
    file = tmp_path / "it's mine.pth"
    model = build_network(NetworkConfig(head="gap", width=0.125, num_classes=2), seeded(3)).eval()
    state = model.state_dict()  # torchvision's names; the size is not its, to be quick
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, file)
    with pytest.raises(WeightsError) as refused:
        load_network(file)
    lines = str(refused.value).splitlines()[1:]
    assert len(lines) == 3
    small = "NetworkConfig(head='gap', width=0.125, "
    exec("\n".join(lines).replace("NetworkConfig(", small), {})
    loaded, card = load_network(tmp_path / "it's mine.safetensors")
    assert card.labels == ("first class", "second class")
    assert card.preprocess == Preprocess()
    for key, value in state.items():
        assert torch.equal(loaded.state_dict()[key], value.half().float()), key


def test_unknown_attention_and_changes_to_trained_weights(saved: tuple[Network, Path]) -> None:
    with pytest.raises(ValueError, match="no attention 'magic': choose one of none, gate, se"):
        load_network("random", "magic")
    with pytest.raises(ValueError, match="stages can't be changed"):
        load_network(saved[1], stages=("block5",))


@pytest.mark.parametrize("architecture", ["vgg19", "vgg19_bn"])
def test_torchvision_weights_fill_the_backbone_strictly(architecture: str) -> None:
    """Width cannot be changed in torchvision's VGG19, so that this takes the real size."""
    build = getattr(torchvision.models, architecture)
    with torch.device("meta"):
        keys = build().state_dict()
    state = {
        key: torch.zeros(value.shape, dtype=value.dtype)
        if value.ndim < 2
        else torch.zeros(1).expand(value.shape)
        for key, value in keys.items()
    }
    model = build_network(
        NetworkConfig(attention="se", architecture=architecture, stages=("block5",)), seeded()
    )
    attention = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("attention.")}
    load_backbone(model, state, "imagenet")
    for key, value in model.state_dict().items():
        if key in attention:
            assert torch.equal(value, attention[key])
        else:
            assert not value.any(), key
    first = next(iter(state))
    for broken in (
        {key: value for key, value in state.items() if key != first},
        {**state, "extra": torch.zeros(1)},
        {**state, first: torch.zeros(2)},
    ):
        with pytest.raises(WeightsError, match="imagenet does not fit the network"):
            load_backbone(model, broken, "imagenet")


@pytest.fixture
def empty_cache(tmp_path: Path) -> Path:
    before = torch.hub._hub_dir  # type: ignore[attr-defined]
    torch.hub.set_dir(str(tmp_path))
    yield tmp_path  # type: ignore[misc]
    torch.hub.set_dir(before) if before else setattr(torch.hub, "_hub_dir", None)


def test_imagenet_without_a_network_says_what_to_do(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as caught:
        load_network("imagenet", "cbam")
    message = str(caught.value)
    assert "548 MB" in message
    assert str(empty_cache / "checkpoints" / "vgg19-dcbb9e9d.pth") in message
    assert "everyday" in message
    assert "\n" not in message


def test_a_broken_copy_of_imagenet_is_named(empty_cache: Path) -> None:
    file = empty_cache / "checkpoints" / "vgg19-dcbb9e9d.pth"
    file.parent.mkdir(parents=True)
    for content in (b"", b"PK\x03\x04 half", pickle.dumps({"a": Card}, protocol=2)):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"is not a whole copy of vgg19-dcbb9e9d\.pth"):
            load_network("imagenet")


def test_the_catalogue_counts_what_torchvision_publishes() -> None:
    lines = {(line.weights, line.attention): line for line in list_weights()}
    assert lines["imagenet", "none"].parameters == 143_667_240
    assert lines["imagenet_bn", "none"].parameters == 143_678_248
    assert lines["random", "none"].local
    assert lines["imagenet-vgg16", "none"].parameters == 138_357_544
    assert lines["imagenet-resnet50", "none"].parameters == 25_557_032
    for weights in (*STOCK, "random"):
        assert {attention for name, attention in lines if name == weights} == {"none", *ATTENTION}


@pytest.mark.parametrize("attention", ["none", "cbam"])
def test_bundled_weights_load_offline_and_are_small(attention: str) -> None:
    file = assets_folder() / "weights" / f"everyday-{attention}.safetensors"
    assert file.stat().st_size < 10 * 2**20
    model, card = load_network("everyday", attention)
    assert card.weights == "everyday"
    assert card.config.attention == attention
    assert card.trained == "all"
    assert len(card.labels) == len(card.wnids) == 84
    assert card.labels[card.wnids.index("n02165456")] == "ladybug"
    assert sum(parameter.numel() for parameter in model.parameters()) > 5_000_000

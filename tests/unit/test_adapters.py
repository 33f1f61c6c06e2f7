"""Adapters: a small file on top of a named backbone, whose fingerprint is checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vggviz import Explainer
from vggviz.images import Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.weights import (
    Backbone,
    Card,
    WeightsError,
    list_weights,
    load_network,
    read_backbone,
    save_network,
    stock_file,
)
from vggviz.weights.tensors import fingerprint

PLAIN = NetworkConfig(head="gap", architecture="vgg19_bn", width=0.125, num_classes=3)
CBAM = replace(PLAIN, attention="cbam")
LABELS = ("a", "b", "c")
ZEROS = "0" * 64


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def card(config: NetworkConfig, under: Backbone | None = None) -> Card:
    return Card("", config, Preprocess(64, 64), LABELS, backbone=under)


def drawn(config: NetworkConfig, seed: int = 0) -> Network:
    return build_network(config, torch.Generator().manual_seed(seed))


def with_frozen_convolutions(
    source: Network, config: NetworkConfig = CBAM, seed: int = 1
) -> Network:
    """As training with `--freeze-backbone` leaves it: attention, γ, norms and head have moved."""
    model = drawn(config, seed)
    own = model.state_dict()
    model.load_state_dict({k: v for k, v in source.state_dict().items() if k in own}, strict=False)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            convolution = key.startswith("features.") and source.state_dict()[key].ndim == 4
            if value.is_floating_point() and not convolution:
                value.add_(0.125)
    return model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base.safetensors"
    save_network(drawn(PLAIN), card(PLAIN), file)
    return file


@pytest.fixture
def adapter(base: Path) -> Path:
    file = base.with_name("own.safetensors")
    save_network(
        with_frozen_convolutions(load_network(base)[0]), card(CBAM, read_backbone(base)), file
    )
    return file


def told(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        return json.loads(opened.metadata()["vggviz"])


def rewrite(file: Path, **backbone: object) -> None:
    """Change what the file says about its backbone."""
    data = told(file)
    data["backbone"] = {**data["backbone"], **backbone}
    save_file(load_file(file), file, {"vggviz": json.dumps(data)})


def as_written(model: Network) -> dict[str, Tensor]:
    return {
        key: value.half().float() if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }


def assert_same(model: Network, state: dict[str, Tensor]) -> None:
    found = model.state_dict()
    assert found.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(found[key], value), key
        assert found[key].dtype == value.dtype, key


def test_frozen_convolutions_give_a_small_file(base: Path) -> None:
    model = with_frozen_convolutions(load_network(base)[0])
    under = read_backbone(base)
    assert under == Backbone("base.safetensors", "none", sha256(base))
    file = base.with_name("own.safetensors")
    save_network(model, card(CBAM, under), file)
    written = load_file(file)
    assert not any(v.ndim == 4 for k, v in written.items() if k.startswith("features."))
    attention = {key for key in model.state_dict() if key.startswith("attention.")}
    assert {*attention, "features.1.weight", "classifier.0.weight"} <= set(written)
    assert file.stat().st_size < base.stat().st_size / 3
    loaded, found = load_network(file)
    assert_same(loaded, as_written(model))
    assert found.backbone == under
    assert found.config == CBAM
    assert found.fingerprint == sha256(file)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_what_learned_everywhere_gives_a_whole_file(base: Path) -> None:
    model = with_frozen_convolutions(load_network(base)[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.25)
    file = base.with_name("own.safetensors")
    save_network(model, card(CBAM, read_backbone(base)), file)
    assert {key for key, _ in model.named_parameters()} <= set(load_file(file))
    assert_same(load_network(file)[0], as_written(model))


def test_another_head_and_width_are_written_in_full(base: Path) -> None:
    config = replace(CBAM, width=0.25)
    model = drawn(config, 2)
    file = base.with_name("wide.safetensors")
    save_network(model, card(config, read_backbone(base)), file)
    assert_same(load_network(file)[0], as_written(model))


def test_files_from_before_there_were_adapters_still_load(base: Path) -> None:
    data = told(base)
    assert data.pop("backbone") is None
    save_file(load_file(base), base, {"vggviz": json.dumps(data)})
    assert load_network(base)[1].backbone is None


def test_the_card_goes_through_json_and_back() -> None:
    made = card(CBAM, Backbone("everyday", "se", "ab" * 32))
    assert Card.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_missing_backbone_is_named_and_where_it_belongs(adapter: Path, base: Path) -> None:
    base.rename(base.with_name("away"))
    with pytest.raises(WeightsError) as caught:
        load_network(adapter)
    assert str(caught.value) == (
        f"own.safetensors needs its backbone base.safetensors: put a copy into {base.parent}"
    )


def test_another_copy_of_the_backbone_is_refused(adapter: Path, base: Path) -> None:
    before = adapter.read_bytes()
    model, known = load_network(adapter)
    save_network(drawn(PLAIN, 9), card(PLAIN), base)
    with pytest.raises(WeightsError, match=r"own\.safetensors was trained on another copy of"):
        load_network(adapter)
    with pytest.raises(WeightsError, match="another copy of"):  # nor is it written
        save_network(model, known, adapter)
    assert adapter.read_bytes() == before
    assert {file.name for file in adapter.parent.iterdir()} == {adapter.name, base.name}


def test_what_does_not_fit_is_refused(adapter: Path, base: Path) -> None:
    whole = load_file(adapter)
    text = {"vggviz": json.dumps(told(adapter))}
    attention = next(key for key in whole if key.startswith("attention.") and "weight" in key)
    for broken in (
        {key: value for key, value in whole.items() if key != attention},  # base has none either
        {**whole, "extra": torch.zeros(1)},
        {**whole, attention: torch.zeros(7)},
        {**whole, attention: whole[attention].to(torch.int64)},
    ):
        save_file(broken, adapter, text)
        with pytest.raises(WeightsError, match=r"own\.safetensors does not fit its own descr"):
            load_network(adapter)
    # A backbone of another shape, though its fingerprint is right.
    save_file(whole, adapter, text)
    config = replace(PLAIN, width=0.25)
    save_network(drawn(config), card(config), base)
    rewrite(adapter, fingerprint=sha256(base))
    with pytest.raises(WeightsError, match=r"does not fit its own description: see features"):
        load_network(adapter)


@pytest.mark.parametrize(
    "name",
    [
        "../base.safetensors", "a/base.safetensors", "/etc/base.safetensors", "..", "",
        "a\\base.safetensors", "C:base.safetensors", "base.pth", "base\0.safetensors",
        "hf:user/repo", "tiny51", "random",
    ],
)  # fmt: skip
def test_a_backbone_is_a_name_and_never_a_path(adapter: Path, name: str) -> None:
    with pytest.raises(ValueError, match="backbone"):
        Backbone(name, "none", ZEROS)
    rewrite(adapter, weights=name)
    with pytest.raises(WeightsError, match=r"description in own\.safetensors can't be read"):
        load_network(adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "magic"}, "no attention 'magic' in a backbone"),
        ({"weights": "imagenet", "attention": "cbam"}, "imagenet has no trained attention"),
        ({"fingerprint": "abc"}, "64 hexadecimal digits"),
        ({"fingerprint": 5}, "can't be read"),
        ({"weights": ["everyday"]}, "can't be read"),
        ({"url": "http://example.org"}, "unexpected keyword argument 'url'"),
    ],
)
def test_a_description_of_a_backbone_that_lies_is_refused(
    adapter: Path, changes: dict[str, object], message: str
) -> None:
    rewrite(adapter, **changes)
    with pytest.raises(WeightsError, match=message):
        load_network(adapter)


def test_a_link_that_leads_away_is_refused(adapter: Path, base: Path) -> None:
    elsewhere = base.parent / "elsewhere" / "base.safetensors"
    elsewhere.parent.mkdir()
    base.rename(elsewhere)
    base.symlink_to(elsewhere)
    with pytest.raises(WeightsError, match=r"base\.safetensors is a link that leads out of"):
        load_network(adapter)
    near = base.with_name("near.safetensors")
    elsewhere.rename(near)
    base.unlink()
    base.symlink_to(near)
    load_network(adapter)


def test_an_adapter_on_an_adapter_stands_on_its_backbone(adapter: Path, base: Path) -> None:
    assert read_backbone(adapter) == read_backbone(base)
    model = with_frozen_convolutions(load_network(adapter)[0], CBAM, 2)
    second = base.with_name("second.safetensors")
    save_network(model, card(CBAM, read_backbone(adapter)), second)
    assert second.stat().st_size < base.stat().st_size / 3
    adapter.unlink()
    assert_same(load_network(second)[0], as_written(model))


def test_an_adapter_is_no_backbone(adapter: Path, base: Path) -> None:
    message = r"second\.\w+ is an adapter on own\.safetensors, which is an adapter itself"
    model, second = load_network(adapter)[0], base.with_name("second.safetensors")
    under = Backbone(adapter.name, "cbam", sha256(adapter))
    with pytest.raises(WeightsError, match=message):
        save_network(model, card(CBAM, under), second)
    assert not second.exists()
    second.write_bytes(adapter.read_bytes())
    rewrite(second, weights=adapter.name, attention="cbam", fingerprint=sha256(adapter))
    with pytest.raises(WeightsError, match=message):
        load_network(second)
    rewrite(adapter, weights=second.name)  # a circle
    with pytest.raises(WeightsError, match="which is an adapter itself"):
        load_network(second)


def test_nothing_is_an_adapter_on_itself(adapter: Path, base: Path) -> None:
    before = base.read_bytes()
    with pytest.raises(WeightsError, match=r"base\.safetensors can't be an adapter on itself"):
        save_network(drawn(PLAIN), card(PLAIN, read_backbone(base)), base)
    assert base.read_bytes() == before
    rewrite(adapter, weights=adapter.name)
    with pytest.raises(WeightsError, match=r"own\.safetensors can't be an adapter on itself"):
        load_network(adapter)


@pytest.fixture
def fake_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose bundled CBAM weights are an adapter on the ones without attention."""
    folder = tmp_path / "assets"
    monkeypatch.setattr("vggviz.weights.bundle.assets_folder", lambda: folder)
    plain = folder / "weights" / "everyday-none.safetensors"
    save_network(drawn(PLAIN), card(PLAIN), plain)
    under = read_backbone("everyday")
    assert under == Backbone("everyday", "none", sha256(plain))
    model = with_frozen_convolutions(load_network("everyday")[0])
    save_network(model, card(CBAM, under), plain.with_name("everyday-cbam.safetensors"))
    return folder


def test_bundled_weights_may_be_adapters(fake_assets: Path, tmp_path: Path) -> None:
    folder = fake_assets / "weights"
    small, plain = (folder / f"everyday-{name}.safetensors" for name in ("cbam", "none"))
    assert small.stat().st_size < plain.stat().st_size / 3
    model, found = load_network("everyday", "cbam")
    assert found.weights == "everyday"
    assert found.fingerprint == sha256(small)
    assert_same(model, as_written(with_frozen_convolutions(load_network("everyday")[0])))
    lines = {(line.weights, line.attention): line for line in list_weights()}
    assert lines["everyday", "cbam"].parameters == sum(p.numel() for p in model.parameters())
    assert lines["everyday", "cbam"].local
    assert ("everyday", "se") not in lines
    # One's own adapter on bundled weights may lie anywhere, also one on the bundled adapter.
    own = tmp_path / "anywhere" / "own.safetensors"
    save_network(model, card(CBAM, read_backbone("everyday", "cbam")), own)
    assert load_file(own) == {}
    assert_same(load_network(own)[0], as_written(model))
    small.unlink()
    with pytest.raises(WeightsError, match=r"needs the backbone everyday \(cbam\), which this"):
        load_network(own)
    plain.write_bytes(plain.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="everyday has no trained weights for attention 'cbam"):
        load_network("everyday", "cbam")


def test_only_loading_reads_a_file_through(
    fake_assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer = Explainer.load("everyday", "cbam")

    def again(_: Path) -> str:
        raise AssertionError("hashed again")

    monkeypatch.setattr("vggviz.weights.adapters.fingerprint", again)
    monkeypatch.setattr("vggviz.weights.stock.fingerprint", again)
    assert len(list_weights()) > 2
    picture = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()
    found = explainer.explain(picture, "block5")
    assert found.provenance["fingerprint"] == sha256(
        fake_assets / "weights" / "everyday-cbam.safetensors"
    )


def write_imagenet(file: Path, value: Tensor) -> None:
    """torchvision's file with this one value everywhere, which makes it a small one."""
    with torch.device("meta"):
        keys = torchvision.models.vgg19().state_dict()
    torch.save({key: value.expand(like.shape) for key, like in keys.items()}, file)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """torchvision's file as it would lie in the cache: right names and shapes, all zeros."""
    before = torch.hub._hub_dir  # type: ignore[attr-defined]
    torch.hub.set_dir(str(tmp_path / "hub"))
    file = stock_file("imagenet")
    file.parent.mkdir(parents=True)
    write_imagenet(file, torch.zeros(()))
    assert file.stat().st_size < 2**20
    yield file  # type: ignore[misc]
    torch.hub.set_dir(before) if before else setattr(torch.hub, "_hub_dir", None)


def test_an_adapter_on_torchvisions_file(imagenet: Path, tmp_path: Path) -> None:
    under = read_backbone("imagenet")
    assert under == Backbone("imagenet", "none", sha256(imagenet))
    config = NetworkConfig(attention="eca", stages=("block5",), head="gap", num_classes=3)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build_network(config).state_dict().items()}
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    state = {k: v if k.startswith("features.") else v + 0.5 for k, v in state.items()}
    with torch.device("meta"):
        model = build_network(config)
    model.load_state_dict(state, assign=True)
    file = tmp_path / "own.safetensors"
    save_network(model, card(config, under), file)
    assert all(key.startswith(("attention.", "classifier.")) for key in load_file(file))
    assert_same(load_network(file)[0], state)
    write_imagenet(imagenet, torch.ones(()))
    with pytest.raises(WeightsError, match=r"own\.safetensors was trained on another copy of im"):
        load_network(file)


def test_torchvisions_file_has_a_fingerprint(
    imagenet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is left out: filling it takes seconds, and another test does it."""
    built: list[NetworkConfig] = []

    def build(config: NetworkConfig, _: torch.Generator) -> Network:
        built.append(config)
        with torch.device("meta"):
            return build_network(config)

    monkeypatch.setattr("vggviz.weights.stock.build_network", build)
    monkeypatch.setattr("vggviz.weights.stock.load_backbone", lambda *_: None)
    _, found = load_network("imagenet", "se")
    assert found.fingerprint == sha256(imagenet)
    assert found.backbone is None
    assert load_network("random")[1].fingerprint == ""
    assert [config.attention for config in built] == ["se", "none"]


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1, 3 * 2**20 - 1])
def test_a_fingerprint_is_the_hash_of_all_bytes(tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    assert fingerprint(file) == sha256(file)

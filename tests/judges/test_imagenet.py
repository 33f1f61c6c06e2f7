"""torchvision's ImageNet weights, from timm's safetensors files and from torchvision's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from hub import Hub, Repo
from safetensors.torch import save, save_file
from torch import nn

from vggviz.networks import TORCHVISION
from vggviz.weights import STOCK, WEIGHTS, WeightsError, fingerprint, load_network, stock_file
from vggviz.weights.stock import _torchvision_names, stock_state

timm = pytest.importorskip("timm", reason="publishes the weights as safetensors")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[Path]:
    """torch.hub's folder of weights, which does not exist yet."""
    before = torch.hub._hub_dir  # type: ignore[attr-defined]
    torch.hub.set_dir(str(tmp_path / "torch"))
    yield tmp_path / "torch" / "checkpoints"
    torch.hub.set_dir(before) if before else setattr(torch.hub, "_hub_dir", None)


def timm_place(checkpoints: Path, architecture: str) -> Path:
    file = checkpoints / "timm" / f"{architecture}.tv_in1k" / "model.safetensors"
    file.parent.mkdir(parents=True)
    return file


def test_every_architecture_has_weights_that_timm_publishes() -> None:
    published = {name: architecture for name, architecture in STOCK.items() if name != "lite"}
    assert sorted(published.values()) == sorted(TORCHVISION)
    assert (STOCK["imagenet"], STOCK["imagenet_bn"]) == ("vgg19", "vgg19_bn")
    assert (STOCK["imagenet-vgg16"], STOCK["imagenet-resnet50"]) == ("vgg16", "resnet50")
    assert set(STOCK) < set(WEIGHTS)
    for architecture in published.values():
        described = timm.models.get_pretrained_cfg(f"{architecture}.tv_in1k")
        assert described.hf_hub_id == f"timm/{architecture}.tv_in1k"


@pytest.mark.parametrize("architecture", TORCHVISION)
def test_timms_names_and_shapes_become_torchvisions(architecture: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(architecture).state_dict()
        expected = getattr(torchvision.models, architecture)().state_dict()
    found = _torchvision_names(theirs)
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in expected.items()
    }


def test_timms_small_vgg_computes_the_same_in_torchvisions() -> None:
    channels = [8, "M", 16, "M", 8, "M", 8, "M", 8, "M"]
    theirs = timm.models.vgg.VGG(channels, num_classes=10, norm_layer=nn.BatchNorm2d).eval()
    features = torchvision.models.vgg.make_layers(channels, batch_norm=True)
    ours = torchvision.models.VGG(features, num_classes=10, init_weights=False).eval()
    ours.classifier[0] = nn.Linear(8 * 49, 4096)
    ours.load_state_dict(_torchvision_names(theirs.state_dict()))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_a_copy_by_hand_of_timms_file_is_torchvisions_network(checkpoints: Path) -> None:
    theirs = timm.create_model("resnet50").eval()
    file = timm_place(checkpoints, "resnet50")
    assert stock_file("imagenet-resnet50").parent == checkpoints
    save_file(theirs.state_dict(), file)
    assert stock_file("imagenet-resnet50") == file
    model, card = load_network("imagenet-resnet50", "se")
    assert (card.config.architecture, card.trained) == ("resnet50", "backbone")
    assert (card.preprocess.size, card.preprocess.resize) == (224, 256)
    assert (card.labels[0], len(card.labels)) == ("tench", 1000)
    assert card.fingerprint == fingerprint(file)
    judge = torchvision.models.resnet50().eval()
    judge.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(images), judge(images))
        torch.testing.assert_close(model(images), theirs(images))


def test_of_two_copies_an_adapter_gets_its_own(checkpoints: Path) -> None:
    safe = timm_place(checkpoints, "resnet50")
    pickled = stock_file("imagenet-resnet50")
    save_file({"fc.bias": torch.zeros(3)}, safe)
    torch.save({"fc.bias": torch.ones(3)}, pickled)
    for expected, file in (
        ("", safe), (fingerprint(safe), safe), (fingerprint(pickled), pickled), ("f" * 64, safe)
    ):  # fmt: skip
        state, known = stock_state("imagenet-resnet50", expected)
        assert (state["fc.bias"][0], known) == (float(file == pickled), fingerprint(file))


def test_files_from_before_norms_counted_batches(checkpoints: Path) -> None:
    checkpoints.mkdir(parents=True)
    state = torchvision.models.resnet50().state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, stock_file("imagenet-resnet50"))
    model, _ = load_network("imagenet-resnet50")
    assert model.state_dict().keys() == state.keys()


def test_they_come_from_the_hub_and_stay(
    hub: Hub, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = save({"head.fc.bias": torch.ones(3)})
    hub.repos["timm/vgg16.tv_in1k"] = Repo(commits=[{"model.safetensors": content}])
    monkeypatch.setattr(torch.hub, "urlopen", None)  # torchvision's server is not asked
    state, known = stock_state("imagenet-vgg16")
    assert state["classifier.6.bias"].tolist() == [1, 1, 1]
    file = stock_file("imagenet-vgg16")
    assert file == checkpoints / "timm" / "vgg16.tv_in1k" / "model.safetensors"
    assert (file.read_bytes(), fingerprint(file)) == (content, known)
    hub.stop()
    assert stock_state("imagenet-vgg16")[1] == known
    file.write_bytes(content[:-1])
    with pytest.raises(WeightsError, match=r"is not a whole copy of model\.safetensors: remove it"):
        stock_state("imagenet-vgg16")


def test_torchvisions_server_is_asked_where_the_hub_has_none(
    hub: Hub, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def offline(request: object, **_: object) -> None:
        asked.append(str(getattr(request, "full_url", request)))
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "urlopen", offline)
    with pytest.raises(WeightsError) as caught:
        stock_state("imagenet-vgg16")
    assert [url.rpartition("/")[2] for url in asked] == ["vgg16-397923af.pth"]
    assert any("timm/vgg16.tv_in1k" in path for _, _, path, _ in hub.asked)
    said = str(caught.value)
    assert "528 MB" in said
    assert f"put a copy at {checkpoints / 'vgg16-397923af.pth'}, or the model.safetensors" in said
    assert f"at {checkpoints / 'timm' / 'vgg16.tv_in1k' / 'model.safetensors'}, or use" in said
    before = len(hub.asked)
    with pytest.raises(WeightsError):  # an adapter on torchvision's file: no other will do
        stock_state("imagenet-vgg16", "397923af" + "0" * 56)
    assert (len(asked), len(hub.asked)) == (2, before)

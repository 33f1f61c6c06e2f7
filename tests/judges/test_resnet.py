"""ResNet-50: what it shares with every network, at its own stages."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor

from vggviz.cam import cams
from vggviz.networks import NetworkConfig, build_network
from vggviz.networks.resnet import ResNet50


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**choices: object) -> ResNet50:
    """An eighth of the width, 10 classes, its batch statistics away from 0 and 1."""
    full = {"architecture": "resnet50", "width": 0.125, "num_classes": 10, **choices}
    network = build_network(NetworkConfig(**full), seeded()).eval()  # type: ignore[arg-type]
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.2, 0.8, generator=seeded(1))
    assert isinstance(network, ResNet50)
    return network


def pictures(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=seeded(2))


@torch.no_grad()
def test_run_up_to_a_stage_and_on_from_it() -> None:
    network = small(attention="cbam", blend="replace", stages=("layer2", "layer4"))
    x = pictures()
    logits = network(x)
    for index, stage in enumerate(network.stages):
        features = network.features_before(x, stage)
        side = 16 // 2**index
        assert features.shape == (2, 32 * 2**index, side, side)  # 8 · 4 channels at layer1
        assert torch.equal(network(features, stage), logits)
    assert network.path("layer2") == "attention.layer2"
    assert network.path("layer1") == "layer1"
    assert network.input_path("layer2") == "layer2"
    assert network.attention_paths() == ["attention.layer2", "attention.layer4"]


def test_grad_cam_at_every_stage_equals_the_network_cut_by_hand() -> None:
    """As torchvision's ResNet-50, whose stages are run one by one."""
    network = small(num_classes=10, width=1.0)
    theirs = torchvision.models.resnet50(num_classes=10).eval()
    theirs.load_state_dict(network.state_dict())
    theirs.relu.inplace = False
    x = pictures()
    found = cams(network, x, network.stages, ("gradcam",), torch.tensor([3]))
    stem = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    for index, stage in enumerate(network.stages):
        y = stem
        for name in network.stages[: index + 1]:
            y = getattr(theirs, name)(y)
        y = features = y.detach().requires_grad_()
        for name in network.stages[index + 1 :]:
            y = getattr(theirs, name)(y)
        score = theirs.fc(theirs.avgpool(y).flatten(1))[:, 3].sum()
        (gradient,) = torch.autograd.grad(score, features)
        expected = (features * gradient.mean((2, 3), keepdim=True)).sum(1).relu()
        torch.testing.assert_close(found.maps[stage, "gradcam"][0], expected, rtol=1e-4, atol=1e-6)


def test_groups_to_randomise_hold_every_parameter_once() -> None:
    network = small(attention="se", stages=("layer3",))
    groups = network.parameter_groups()
    assert list(groups)[:3] == ["fc", "layer4.2", "layer4.1"]
    assert list(groups)[-1] == "conv1"
    assert groups["conv1"] == ("conv1", "bn1")
    assert "attention at layer3" in groups
    held = [
        parameter
        for paths in groups.values()
        for path in paths
        for parameter in network.get_submodule(path).parameters()
    ]
    assert len(held) == len({id(parameter) for parameter in network.parameters()})
    assert {id(p) for p in held} == {id(p) for p in network.parameters()}


def test_it_has_no_pooling_to_stand_behind() -> None:
    with pytest.raises(ValueError, match="no pooling at their end"):
        small(placement="after_pool")


def test_features_are_not_overwritten() -> None:
    """A captured activation stays what it was: no ReLU works in place, no shortcut is added so."""
    network, x = small(), pictures()
    found = cams(network, x, ("layer1",), ("gradcam",), watch=("layer1", "layer2"))
    for stage in ("layer1", "layer2"):
        with torch.no_grad():
            expected = network.features_before(x, stage)
        assert torch.equal(found.outputs[stage], expected)

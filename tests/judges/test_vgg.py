"""The network: torchvision's names and logits, configurations, stages, blends, fresh weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from vggviz.attention import ATTENTION
from vggviz.hooks.capture import capture
from vggviz.networks import (
    TORCHVISION,
    AttentionStage,
    Network,
    NetworkConfig,
    build_network,
    resolve,
)
from vggviz.networks.vgg import VGG

SUBSETS = [*((stage,) for stage in VGG.stages), ("block2", "block4"), VGG.stages]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(seed: int = 0, **choices: Any) -> Network:
    """An eighth of the width, 10 classes."""
    config = NetworkConfig(**{"head": "gap", "width": 0.125, "num_classes": 10, **choices})
    return build_network(config, seeded(seed)).eval()


def empty(**choices: Any) -> Network:
    with torch.device("meta"):
        return build_network(NetworkConfig(**choices)).eval()


def pictures(size: int = 32, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=seeded(1))


# As torchvision has it -------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", TORCHVISION)
def test_names_and_shapes_are_torchvisions(architecture: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, architecture)().state_dict()
    ours = empty(architecture=architecture).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items()
    }


@pytest.mark.parametrize("architecture", TORCHVISION)
@torch.no_grad()
def test_logits_are_torchvisions_to_the_bit(architecture: str) -> None:
    generator = seeded(2)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, architecture)().eval()
    state = {}
    for name, value in theirs.state_dict().items():
        low, high = (0.1, 0.9) if value.ndim == 1 else (-1.0, 1.0)
        drawn = torch.empty(value.shape).uniform_(low, high, generator=generator)
        spread = (6 / drawn[0].numel()) ** 0.5 if drawn.ndim > 1 else 1.0  # He et al. 2015, eq. 10
        state[name] = drawn.mul_(spread).to(value.dtype)
    ours = empty(architecture=architecture)
    theirs.load_state_dict(state, strict=True, assign=True)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    x = pictures(64)
    expected = theirs(x)
    assert float(expected.std()) > 0.1
    assert torch.equal(ours(x), expected)


@pytest.mark.parametrize("head", ["fc", "gap"])
def test_attention_stands_beside_the_network(head: str) -> None:
    plain, with_cbam = empty(head=head), empty(head=head, attention="cbam")
    added = set(with_cbam.state_dict()) - set(plain.state_dict())
    assert set(plain.state_dict()) <= set(with_cbam.state_dict())
    assert all(name.startswith("attention.block") for name in added)
    assert {name.split(".")[1] for name in added} == set(VGG.stages)


@pytest.mark.parametrize(
    ("architecture", "paths"),
    [
        ("vgg19", {"conv1_1": 0, "pool1": 4, "conv5_4": 34, "relu5_4": 35, "pool5": 36}),
        ("vgg19_bn", {"conv1_1": 0, "bn1_1": 1, "conv5_4": 49, "relu5_4": 51, "pool5": 52}),
        ("vgg11", {"conv1_1": 0, "conv3_2": 8, "conv5_2": 18, "pool5": 20}),
        ("vgg16_bn", {"conv1_2": 3, "bn1_2": 4, "conv5_3": 40, "relu5_3": 42, "pool5": 43}),
    ],
)
def test_paths(architecture: str, paths: dict[str, int]) -> None:
    network = empty(architecture=architecture)
    for name, index in paths.items():
        assert network.path(name) == f"features.{index}"
    last = next(name for name in reversed(network.layers) if name.startswith("relu5"))
    assert network.path("block5") == network.path(last)
    assert network.path("fc8") == network.path("classifier.6") == "classifier.6"
    kinds = {"conv": nn.Conv2d, "bn": nn.BatchNorm2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}
    kinds["fc"] = nn.Linear
    for name, path in network.layers.items():
        if name not in VGG.stages:
            kind = kinds[name.rstrip("0123456789_")]
            assert isinstance(network.get_submodule(path), kind)
    assert ("bn1_1" in network.layers) == architecture.endswith("_bn")


def test_paths_with_attention() -> None:
    network = empty(attention="se", stages=("block4",), head="gap")
    assert network.path("block4") == "attention.block4"
    assert network.path("block5") == "features.35"
    for unknown in ("block6", "conv3_5", ""):
        with pytest.raises(ValueError, match=f"no layer '{unknown}': stages are block1, .* head"):
            network.path(unknown)


@pytest.mark.parametrize("attention", ["none", *ATTENTION])
def test_no_relu_works_in_place(attention: str) -> None:
    for head in ("fc", "gap"):
        network = empty(attention=attention, head=head, architecture="vgg19_bn")
        assert not [name for name, m in network.named_modules() if getattr(m, "inplace", False)]


@pytest.mark.parametrize(
    ("width", "channels"),
    [
        (1.0, [64, 128, 256, 512, 512]),
        (0.5, [32, 64, 128, 256, 256]),
        (0.125, [8, 16, 32, 64, 64]),
        (0.3, [16, 40, 80, 152, 152]),  # 19.2, 38.4, 76.8, 153.6 to the nearest multiple of 8
        (0.01, [8, 8, 8, 8, 8]),  # never none
    ],
)
def test_width(width: float, channels: list[int]) -> None:
    network = empty(width=width, head="gap", attention="gate", num_classes=7)
    for block, count in enumerate(channels, 1):
        assert network.get_submodule(network.path(f"conv{block}_1")).out_channels == count
        assert network.get_submodule(f"attention.block{block}.module.out").out_channels == count
    assert network.classifier[0].weight.shape == (7, channels[-1])


@torch.no_grad()
def test_heads() -> None:
    x = pictures(64)
    network = small()
    features = network.features(x)
    torch.testing.assert_close(network(x), network.classifier[0](features.mean((2, 3))))
    fc = small(head="fc")
    assert [tuple(m.weight.shape) for m in fc.classifier if isinstance(m, nn.Linear)] == [
        (4096, 64 * 7 * 7),
        (4096, 4096),
        (10, 4096),
    ]
    assert fc(x).shape == (2, 10)


# Configuration ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(),
        NetworkConfig(
            "cbam", ("block2", "block5"), "after_pool", "replace", "gap", "vgg16", 0.5, 50
        ),
        NetworkConfig(attention="se", stages=()),
    ],
)
def test_config_survives_json(config: NetworkConfig) -> None:
    assert NetworkConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_config_defaults_and_order() -> None:
    assert NetworkConfig.from_json({"attention": "se"}) == NetworkConfig(attention="se")
    assert resolve(NetworkConfig(attention="se")).stages == VGG.stages
    resolved = resolve(NetworkConfig(stages=("block5", "block1", "block5")))
    assert resolved.stages == ("block1", "block5")


def test_configurations_of_version_0_1_are_read() -> None:
    written = {"attention": "se", "sites": ["block4"], "batch_norm": True}
    config = NetworkConfig("se", ("block4",), architecture="vgg19_bn")
    assert NetworkConfig.from_json(written) == config
    assert NetworkConfig.from_json({"batch_norm": False}).architecture == "vgg19"
    with pytest.raises(ValueError, match="batch_norm must be true or false, not 'yes'"):
        NetworkConfig.from_json({"batch_norm": "yes"})


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"attention": "cbma"}, "no attention 'cbma': choose one of none, gate, se, eca, spatial"),
        ({"stages": ("block6",)}, "no stage 'block6': choose one of block1, .*, block5"),
        ({"architecture": "vgg20"}, "no architecture 'vgg20': choose one of vgg11, vgg11_bn, .*50"),
        ({"architecture": "resnet50", "stages": ("block5",)}, "choose one of layer1, .*, layer4"),
        ({"stages": "block5"}, r"stages must be a tuple such as \('block5',\), not 'block5'"),
        ({"placement": "within"}, "no placement 'within': choose one of before_pool, after_pool"),
        ({"blend": "sum"}, "no blend 'sum': choose one of residual, replace"),
        ({"head": "mlp"}, "no head 'mlp': choose one of fc, gap"),
        ({"width": 0.0}, r"width must lie in \(0, 4\], not 0.0"),
        ({"width": 4.5}, r"width must lie in \(0, 4\], not 4.5"),
        ({"width": float("nan")}, "width must lie in"),
        ({"num_classes": 0}, "num_classes must be at least 1, not 0"),
    ],
)
def test_config_refuses(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(NetworkConfig(**choices))


def test_config_refuses_unknown_keys() -> None:
    with pytest.raises(ValueError, match=r"unknown keys .*: \['colour', 'depth'\]"):
        NetworkConfig.from_json({"depth": 19, "colour": "red", "head": "gap"})


# Stages and blends ------------------------------------------------------------------------------


def by_hand(network: Network, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and what attention gave at each stage, walking the features and counting pools."""
    after_pool = network.config.placement == "after_pool"
    stages, seen = iter(VGG.stages), dict[str, Tensor]()

    def attend(x: Tensor) -> Tensor:
        stage = next(stages)
        if stage in network.attention:
            block = network.attention[stage]
            y = block.module(x)
            x = seen[stage] = y if block.gamma is None else x + block.gamma * (y - x)
        return x

    for layer in network.features:
        pool = isinstance(layer, nn.MaxPool2d)
        if pool and not after_pool:
            x = attend(x)
        x = layer(x)
        if pool and after_pool:
            x = attend(x)
    return network.classifier(network.avgpool(x).flatten(1)), seen


@pytest.mark.parametrize("stages", [VGG.stages, ("block2", "block4"), ("block5",)])
@pytest.mark.parametrize("blend", ["residual", "replace"])
@pytest.mark.parametrize(("placement", "first"), [("before_pool", 64), ("after_pool", 32)])
@torch.no_grad()
def test_placement(placement: str, first: int, blend: str, stages: tuple[str, ...]) -> None:
    network = small(attention="gate", placement=placement, blend=blend, stages=stages)
    for stage in network.attention.values():
        if stage.gamma is not None:
            stage.gamma.fill_(0.7)
    x = pictures(64)
    with capture(network, [network.path(stage) for stage in stages]) as trace:
        logits = network(x)
    expected, seen = by_hand(network, x)
    assert torch.equal(logits, expected)
    assert tuple(network.attention) == stages
    for stage in stages:
        index = VGG.stages.index(stage)
        output = trace.outputs[f"attention.{stage}"]
        assert torch.equal(output, seen[stage])
        side = first // 2**index
        assert output.shape == (2, (8, 16, 32, 64, 64)[index], side, side)


@pytest.mark.parametrize("attention", ATTENTION)
@torch.no_grad()
def test_fresh_residual_attention_changes_no_bit(attention: str) -> None:
    plain, x = small(), pictures()
    logits = plain(x)
    for stages in SUBSETS:
        for placement in ("before_pool", "after_pool"):
            network = small(1, attention=attention, stages=stages, placement=placement)
            missing, unexpected = network.load_state_dict(plain.state_dict(), strict=False)
            assert not unexpected
            assert all(name.startswith("attention.") for name in missing)
            assert torch.equal(network(x), logits)


@pytest.mark.parametrize("attention", ATTENTION)
def test_trained_gamma_and_replace(attention: str) -> None:
    module, x = ATTENTION[attention](8), torch.randn(2, 8, 5, 7, generator=seeded())
    y = module(x)
    residual, replace = AttentionStage(module, "residual"), AttentionStage(module, "replace")
    assert torch.equal(residual(x), x)
    assert residual.gamma is not None
    (slope,) = torch.autograd.grad(residual(x).sum(), residual.gamma)  # so γ learns from 0 on
    torch.testing.assert_close(slope, (y - x).sum(), rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        residual.gamma.fill_(-0.375)
    torch.testing.assert_close(residual(x), 1.375 * x - 0.375 * y)
    assert torch.equal(replace(x), y)
    assert replace.gamma is None
    assert "gamma" not in replace.state_dict()


@torch.no_grad()
def test_gammas() -> None:
    network = small(attention="se", stages=("block3", "block5"))
    assert network.gammas() == {"block3": 0.0, "block5": 0.0}
    network.get_parameter("attention.block5.gamma").fill_(0.5)
    assert network.gammas() == {"block3": 0.0, "block5": 0.5}
    assert small(attention="se", blend="replace").gammas() == {}
    assert small().gammas() == {}


# Fresh weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ATTENTION)
def test_the_generator_decides(attention: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        small(s, attention=attention, architecture="vgg19_bn") for s in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), before)
    drawn = {name for name, p in first.named_parameters() if p.ndim > 1}
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
        assert (name in drawn) != torch.equal(tensor, other.state_dict()[name]), name


def test_fresh_weights_have_the_right_size() -> None:
    network = small(width=0.5, architecture="vgg19_bn", attention="self_attention", head="gap")
    state = network.state_dict()
    conv = state[f"{network.path('conv3_1')}.weight"]  # 64 → 128: fan out 128 · 9
    assert float(conv.std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert float(state["classifier.0.weight"].std()) == pytest.approx(0.01, rel=0.05)
    query = state["attention.block5.module.query.weight"]  # uniform within ±1/√(fan in)
    assert 0.99 / 16 < float(query.abs().max()) <= 1 / 16
    assert float(query.std()) == pytest.approx(1 / 16 / 3**0.5, rel=0.02)
    for name, tensor in state.items():
        if name.endswith((".bias", "running_mean", "num_batches_tracked", "gamma")):
            assert not tensor.any(), name
        elif tensor.ndim == 1:  # the norms' scales and variances
            assert bool((tensor == 1).all()), name


@pytest.mark.parametrize("attention", ["none", *ATTENTION])
def test_under_meta_nothing_is_allocated(attention: str) -> None:
    before = torch.get_rng_state()
    network = empty(attention=attention, architecture="vgg19_bn")
    assert {t.device.type for t in network.state_dict().values()} == {"meta"}
    assert torch.equal(torch.get_rng_state(), before)
    full = small(attention=attention, architecture="vgg19_bn")
    filled = empty(
        attention=attention, architecture="vgg19_bn", head="gap", width=0.125, num_classes=10
    )
    filled.load_state_dict(full.state_dict(), strict=True, assign=True)
    x = pictures()
    with torch.no_grad():
        assert torch.equal(filled(x), full(x))


@pytest.mark.parametrize("placement", ["before_pool", "after_pool"])
@pytest.mark.parametrize("stage", ["block1", "block3", "block5"])
def test_a_forward_pass_in_two_halves_is_the_whole(stage: str, placement: str) -> None:
    for stages in (("block1", "block3", "block5"), ("block2",)):
        model = small(
            attention="cbam",
            blend="replace",
            stages=stages,
            placement=placement,
            architecture="vgg19_bn",
        )
        images = pictures()
        arrived = model.features_before(images, stage)
        assert arrived.shape[1] == (8, 16, 32, 64, 64)[VGG.stages.index(stage)]
        assert torch.equal(model(arrived, stage), model(images))
        passed = [
            attention
            for attention in model.attention.values()
            if attention in model.modules_before(stage)
        ]
        assert len(passed) == sum(other < stage for other in stages)

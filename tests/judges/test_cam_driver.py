"""The driver of CAMs: invariants, what it costs, odd networks, errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from reference import FORMULA_TWINS
from torch import Tensor, nn

from vggviz.cam import METHODS, CAMs, cams, gradients
from vggviz.cam.scores import logit
from vggviz.hooks.capture import capture
from vggviz.networks import Network

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]

GRADIENT = [
    name for name, method in METHODS.items() if method.needs == "gradient" and method.score is logit
]
CHEAP = [name for name, method in METHODS.items() if not method.slow]
LAYERS = ["conv3_4", "relu4_4", "block4", "conv5_4", "block5", "pool5"]


def same(a: CAMs, b: CAMs) -> None:
    assert a.maps.keys() == b.maps.keys()
    for key in a.maps:
        torch.testing.assert_close(a.maps[key], b.maps[key], rtol=1e-9, atol=1e-12)


# Invariants ----------------------------------------------------------------------------------


@pytest.fixture
def network(small_vgg: Build) -> Network:
    model = small_vgg(attention="cbam", architecture="vgg19_bn", dtype=torch.float64)
    return model.train()  # everything below is asked of a network that is being trained


@pytest.mark.parametrize("method", [*GRADIENT, "eigencam"])
def test_maps_equal_twins_of_plain_autograd(
    method: str, network: Network, pictures: Draw, untouched: Untouched
) -> None:
    path, target, x = network.path("conv4_4"), 6, pictures(1, 32).double()
    with untouched(network):
        found = cams(network, x, [path], (method,), torch.tensor([target])).maps[path, method]
    network.eval()
    kept: list[Tensor] = []
    handle = network.get_submodule(path).register_forward_hook(lambda *a: kept.append(a[2]))
    logits = network(x)
    handle.remove()
    gradient = torch.autograd.grad(logits[0, target], kept[0])[0]
    twin = FORMULA_TWINS[method](kept[0][0].detach(), gradient[0])
    torch.testing.assert_close(found[0, 0], twin)
    assert twin.max() > 0


def test_a_batch_equals_its_pictures_one_by_one(
    network: Network, pictures: Draw, untouched: Untouched
) -> None:
    x, paths = pictures(3, 32).double(), [network.path(name) for name in LAYERS]
    targets = torch.tensor([[0, 4, 9], [1, 1, 1]])
    with untouched(network):
        together = cams(network, x, paths, CHEAP, targets)
        for b in range(3):
            alone = cams(network, x[b : b + 1], paths, CHEAP, targets[:, b : b + 1])
            torch.testing.assert_close(alone.logits[0], together.logits[b])
            assert alone.targets.tolist() == targets[:, b : b + 1].tolist()
            part = {key: raw[:, b : b + 1] for key, raw in together.maps.items()}
            same(alone, CAMs(alone.logits, alone.targets, alone.taps, part))


@pytest.mark.parametrize("way", ["_one_by_one", "_batched"])  # on a CPU, and on a GPU
def test_several_targets_equal_one_by_one(
    way: str, network: Network, pictures: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "_one_by_one", getattr(gradients, way))
    x, paths = pictures(2, 32).double(), [network.path(name) for name in LAYERS]
    together = cams(network, x, paths, CHEAP, torch.arange(4))
    assert together.targets.tolist() == [[k, k] for k in range(4)]
    for k in range(4):
        alone = cams(network, x, paths, CHEAP, torch.tensor([k]))
        part = {key: raw[k : k + 1] for key, raw in together.maps.items()}
        same(alone, CAMs(alone.logits, alone.targets, alone.taps, part))
    relative = ("refinecam", "eigengradcam")  # 0 where there is but one position
    differing = [
        raw
        for (_, name), raw in together.maps.items()
        if METHODS[name].class_specific and (name not in relative or raw.shape[-1] > 1)
    ]
    assert all(not torch.allclose(raw[0], raw[1]) for raw in differing)


def test_the_order_of_layers_and_methods_is_irrelevant(network: Network, pictures: Draw) -> None:
    x, paths = pictures(1, 32).double(), [network.path(name) for name in LAYERS]
    first = cams(network, x, paths, CHEAP)
    backward = cams(network, x, [*paths[::-1], paths[2]], CHEAP[::-1])  # one of them twice
    assert set(first.maps) == {
        (path, name)
        for path in paths
        for name in CHEAP
        if name != "attention*gradient" or path.startswith("attention.")
    }
    same(first, backward)
    for path in paths:  # and a layer's map does not depend on which others are asked for
        if path.startswith("attention."):
            alone = cams(network, x, [path], CHEAP)
            part = {key: raw for key, raw in first.maps.items() if key[0] == path}
            same(alone, CAMs(alone.logits, alone.targets, alone.taps, part))


def test_by_default_each_picture_explains_its_likeliest_class(
    network: Network, pictures: Draw
) -> None:
    x = pictures(4, 32).double() * torch.tensor([1, 5, -5, 60])[:, None, None, None]
    found = cams(network, x, ["features.0"])
    likeliest = found.logits.argmax(1)
    assert len(set(likeliest.tolist())) > 1
    assert found.targets.tolist() == [likeliest.tolist()]
    same(found, cams(network, x, ["features.0"], targets=likeliest[None]))


# What it costs -------------------------------------------------------------------------------


def nodes(output: Tensor) -> list[str]:
    """The names of all nodes of the graph below a tensor."""
    seen, waiting = set(), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    return [node.name() for node in seen]


@pytest.mark.parametrize(
    ("layers", "convolutions"),
    [(["pool5"], 0), (["block5", "conv5_4"], 0), (["pool5", "block4"], 4), (["conv1_1"], 15)],
)
def test_nothing_below_the_lowest_layer_is_recorded(
    layers: list[str], convolutions: int, small_vgg: Build, pictures: Draw
) -> None:
    model, x = small_vgg().eval(), pictures(1, 32)
    paths = [model.path(name) for name in layers]
    features = [path for path, _ in model.named_modules() if path.startswith("features.")]
    below = features[: features.index(min(paths, key=features.index)) + 1]
    recording: dict[str, bool] = {}

    def note(path: str) -> Callable[..., None]:
        return lambda *_: recording.__setitem__(path, torch.is_grad_enabled())

    handles = [model.get_submodule(path).register_forward_pre_hook(note(path)) for path in features]
    found = cams(model, x, paths)
    for handle in handles:
        handle.remove()
    assert recording == {path: path not in below for path in features}
    assert not any(raw.requires_grad for raw in [*found.maps.values(), found.logits])
    with capture(model, paths, graph=paths) as trace, torch.no_grad():
        logits = model(x)
    assert sum(name.startswith("ConvolutionBackward") for name in nodes(logits)) == convolutions
    assert trace.outputs[below[-1]].is_leaf


def test_methods_without_gradients_record_nothing(small_vgg: Build, pictures: Draw) -> None:
    model = small_vgg().eval()
    seen: list[bool] = []
    handle = model.classifier.register_forward_hook(lambda *a: seen.append(a[2].requires_grad))
    cams(model, pictures(1, 32), ["features.36"], ("eigencam",))
    cams(model, pictures(1, 32), ["features.36"], ("gradcam",))
    handle.remove()
    assert seen == [False, True]


@pytest.mark.parametrize("targets", [None, torch.arange(3)])
def test_one_forward_serves_every_layer_method_and_target(
    targets: Tensor | None, network: Network, pictures: Draw
) -> None:
    calls: list[int] = []
    handle = network.register_forward_pre_hook(lambda *_: calls.append(1))
    cams(network, pictures(1, 32).double(), [network.path(n) for n in LAYERS], CHEAP, targets)
    handle.remove()
    assert calls == [1]


@pytest.mark.parametrize("frozen", [False, True])
def test_parameters_get_no_gradients(
    frozen: bool, network: Network, pictures: Draw, untouched: Untouched
) -> None:
    network.requires_grad_(not frozen)
    if not frozen:
        weight = network.features[0].weight
        weight.grad = torch.ones_like(weight)
    with untouched(network):
        found = cams(network, pictures(1, 32).double(), ["features.3"], ("gradcam",))
    assert found.maps["features.3", "gradcam"].max() > 0


def test_all_results_are_detached(network: Network, pictures: Draw) -> None:
    paths = [network.path(name) for name in LAYERS]
    found = cams(network, pictures(1, 32).double(), paths, CHEAP)
    assert len(found.taps) == 10
    results = [found.logits, *found.maps.values(), *(r.weights for r in found.taps.values())]
    assert not any(tensor.requires_grad for tensor in results)


# Odd networks --------------------------------------------------------------------------------


class ConvNet(nn.Module):
    """Groups of convolutions, one module that runs twice, one that gives two tensors, one idle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True))
        self.shared = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=4), nn.Tanh())
        self.halves = Halves()
        self.idle = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 5)

    def tail(self, x: Tensor) -> Tensor:
        low, high = self.halves(x)
        logits: Tensor = self.head(torch.cat([low, high.square()], 1).mean((2, 3)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.shared(self.shared(self.stem(x))))


class Halves(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.chunk(2, 1)


@pytest.fixture
def odd() -> nn.Module:
    model = ConvNet().double()
    generator = torch.Generator().manual_seed(3)
    for value in model.state_dict().values():
        value.normal_(0, 0.5, generator=generator)
    return model


@pytest.mark.parametrize("method", GRADIENT)
def test_of_a_module_that_runs_twice_the_second_run_is_explained(
    method: str, odd: ConvNet, pictures: Draw, untouched: Untouched
) -> None:
    x = pictures(1, 16).double()
    with untouched(odd):
        found = cams(odd, x, ["shared", "shared.0", "stem"], (method,), torch.tensor([2])).maps
    with torch.no_grad():
        once = odd.stem(x)
        conv = odd.shared[0](odd.shared(once))
    points = [once.requires_grad_(), conv.requires_grad_()]
    expected = {"shared.0": conv, "shared": conv.tanh()}
    for path, point in expected.items():
        leaf = point.detach().requires_grad_()
        rest = odd.tail(leaf.tanh() if path == "shared.0" else leaf)
        gradient = torch.autograd.grad(rest[0, 2], leaf)[0]
        twin = FORMULA_TWINS[method](leaf[0].detach(), gradient[0])
        torch.testing.assert_close(found[path, method][0, 0], twin)
    gradient = torch.autograd.grad(odd.tail(odd.shared(odd.shared(points[0])))[0, 2], points[0])[0]
    twin = FORMULA_TWINS[method](once[0].detach(), gradient[0])
    torch.testing.assert_close(found["stem", method][0, 0], twin)


# Errors --------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "unknown layer": ({"layers": ["stem", "trunk"]}, ValueError, "the model has no module 'trunk'"),
    "unknown method": (
        {"methods": ["gradcam", "grad-cam"]},
        ValueError,
        r"no method 'grad-cam': choose from gradcam, gradcam\+\+, ",
    ),
    "class too high": ({"targets": torch.tensor([5])}, ValueError, "a class from 0 to 4"),
    "class below 0": ({"targets": torch.tensor([0, -1])}, ValueError, "a class from 0 to 4"),
    "targets for three": (
        {"targets": torch.zeros(1, 3, dtype=torch.long)},
        ValueError,
        r"targets must be \(T,\) or \(T, 2\), not \(1, 3\)",
    ),
    "no targets": (
        {"targets": torch.zeros(0, dtype=torch.long)},
        ValueError,
        r"targets must be \(T,\) or \(T, 2\), not \(0,\)",
    ),
    "layer that never runs": (
        {"layers": ["stem", "idle"]},
        ValueError,
        "layer 'idle' took no part in the forward pass",
    ),
    "layer without a map": (
        {"layers": ["head"]},
        ValueError,
        r"layer 'head' has no map: its output is \(2, 5\)",
    ),
    "layer of two tensors": (
        {"layers": ["halves"]},
        TypeError,
        "the output of 'halves' is not one tensor",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("methods", [["gradcam"], ["eigencam"]])
def test_errors_say_what_is_wrong(
    wrong: str, methods: list[str], odd: ConvNet, pictures: Draw, untouched: Untouched
) -> None:
    given, error, words = WRONG[wrong]
    call = {"layers": ["stem"], "methods": methods, **given}
    with untouched(odd), pytest.raises(error, match=words):
        cams(odd, pictures(2, 16).double(), **call)


def test_a_model_without_logits_is_refused(odd: ConvNet, pictures: Draw) -> None:
    with pytest.raises(ValueError, match=r"must return logits \(B, K\), not \(2, 8, 8, 8\)"):
        cams(odd.stem, pictures(2, 16).double(), ["0"])


@pytest.mark.parametrize("attention", ["none", "se"])
def test_attention_gradient_needs_attention_over_positions(
    attention: str, small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model = small_vgg(attention=attention)
    with (
        untouched(model),
        pytest.raises(ValueError, match=r"needs attention over positions at a wanted layer"),
    ):
        cams(model, pictures(1, 32), [model.path("block5")], ("gradcam", "attention*gradient"))

"""CAMs of networks as people have them: residual sums in place, tuples, other layouts, modes."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from torch import Tensor, nn

from vggviz.cam import METHODS, Method, cams, driver
from vggviz.hooks.capture import bypass, capture
from vggviz.hooks.tap import Tap
from vggviz.networks import Network

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]


def drawn(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            spread = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.3
            value.normal_(0, spread, generator=generator)
            if name.endswith("weight") and value.ndim == 1:
                value.add_(1)
    return model.double().eval()


def out_of_place(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


# In place ------------------------------------------------------------------------------------


@pytest.fixture
def resnet() -> nn.Module:
    """torchvision's ResNet-18 with `ReLU()`: `out += identity` is all that works in place."""
    with torch.random.fork_rng():
        return drawn(out_of_place(torchvision.models.resnet18(num_classes=5)))


@pytest.mark.parametrize("relu_in_place", [False, True])
def test_a_residual_sum_in_place_is_judged_by_captum(
    relu_in_place: bool, resnet: nn.Module, pictures: Draw, untouched: Untouched
) -> None:
    if relu_in_place:
        resnet = drawn(torchvision.models.resnet18(num_classes=5))
    x, target = pictures(2, 64).double(), torch.tensor([[3, 1]])
    layers = ["conv1", "layer1.0.bn2", "layer2.0.downsample", "layer3.1.bn2", "layer4.1"]
    with untouched(resnet):
        found = cams(resnet, x, layers, ("gradcam",), target).maps
    for layer in layers:
        judge = LayerGradCam(resnet, resnet.get_submodule(layer))
        theirs = judge.attribute(x, target[0], relu_attributions=True)[:, 0].detach()
        torch.testing.assert_close(found[layer, "gradcam"][0], theirs)
        assert theirs.max() > 0
        alone = cams(resnet, x, [layer], ("gradcam",), target).maps
        torch.testing.assert_close(alone[layer, "gradcam"][0], theirs)


def test_a_residual_sum_in_place_is_judged_by_the_network_split_by_hand(
    resnet: Any, pictures: Draw
) -> None:
    x, layer = pictures(1, 64).double(), "layer3.1.bn2"
    block = resnet.layer3[1]
    with torch.no_grad():
        low = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(x))))
        arriving = resnet.layer3[0](resnet.layer2(resnet.layer1(low)))
        point = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(arriving)))))
    point.requires_grad_()
    after = resnet.layer4(block.relu(point + arriving))
    logits = resnet.fc(resnet.avgpool(after).flatten(1))
    (gradient,) = torch.autograd.grad(logits[0, 2], point)
    by_hand = (gradient.mean((2, 3), keepdim=True) * point).sum(1).relu().detach()
    found = cams(resnet, x, [layer, "conv1"], ("gradcam",), 2)
    torch.testing.assert_close(found.maps[layer, "gradcam"][0], by_hand)
    torch.testing.assert_close(found.logits, logits.detach())


@pytest.mark.parametrize("alive", [False, True])
def test_a_tap_whose_weights_are_changed_in_place_is_read_as_it_was(alive: bool) -> None:
    class Doubling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tap = Tap("spatial")

        def forward(self, x: Tensor) -> Tensor:
            weights = self.tap(weights=x.mean(1), grid=(2, 2))  # with keywords
            weights *= 2
            return x * weights[:, None]

    model, x = Doubling(), torch.arange(12.0).reshape(1, 3, 2, 2)
    with torch.no_grad(), capture(model, graph=["tap"] if alive else []) as trace:
        y = model(x)
    torch.testing.assert_close(trace.taps["tap"].weights, x.mean(1))
    assert (trace.taps["tap"].grid, trace.taps["tap"].keys) == ((2, 2), None)
    torch.testing.assert_close(y, 2 * x * x.mean(1, keepdim=True))
    if alive:
        (gradient,) = torch.autograd.grad(y.sum(), trace.taps["tap"].weights)
        torch.testing.assert_close(gradient, 2 * x.sum(1))


def test_nothing_is_copied_that_is_not_changed(small_vgg: Build, pictures: Draw) -> None:
    """What Network works on with is the captured memory itself: it shares the address."""
    model, x = small_vgg().eval(), pictures(1, 32)
    stages = ["features.3", "features.8", "features.17"]
    shared: list[bool] = []
    for index in (4, 9, 18):  # the pooling behind each of them
        model.features[index].register_forward_pre_hook(
            lambda _, args: shared.append(torch._C._is_cow_tensor(args[0].detach()))
        )
    with torch.no_grad(), capture(model, stages, graph=stages[:1]) as trace:
        model(x)
    assert shared == [True] * 3
    # Still shared: nothing has written since. Once the network's own copy is gone, it is theirs.
    assert all(torch._C._is_cow_tensor(trace.outputs[path].detach()) for path in stages)


def test_bypass_takes_an_input_that_came_with_a_keyword() -> None:
    class Calling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(input=x)

    with bypass(model := Calling(), ["inner"]):
        assert torch.equal(model(torch.tensor([-1.0])), torch.tensor([-1.0]))


# Layouts -------------------------------------------------------------------------------------


class Returning(nn.Module):
    """A convolution with stride 8, whose output a second module returns in another form."""

    def __init__(self, form: Callable[[Tensor], Any], back: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, 8)
        self.form = Applied(form)
        self.back = back
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.back(self.form(self.conv(x))).tanh().mean((2, 3)))
        return logits


class Applied(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


CHANNELS_LAST = (lambda x: x.permute(0, 2, 3, 1), lambda x: x.permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [(32, 32), (64, 32), (24, 48), (37, 90)])
def test_channels_last_is_refused_where_the_picture_shows_it(size: tuple[int, int]) -> None:
    model = drawn(Returning(*CHANNELS_LAST))
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    shape = rf"\(2, {size[0] // 8}, {size[1] // 8}, 6\)"
    with pytest.raises(ValueError, match=rf"output {shape} looks like \(B, h, w, C\) for pictures"):
        cams(model, x, ["form"])
    assert cams(model, x, ["conv"]).maps["conv", "gradcam"].shape[2:] == (
        size[0] // 8,
        size[1] // 8,
    )


def test_channels_last_that_could_be_channels_first_is_taken_as_that() -> None:
    """6 x 6 positions with 6 channels: the docstring says so."""
    x = torch.rand(1, 3, 48, 48, dtype=torch.float64)
    found = cams(drawn(Returning(*CHANNELS_LAST)), x, ["form"])
    assert found.maps["form", "gradcam"].shape == (1, 1, 6, 6)


def test_swin_is_refused_and_convnext_is_not(pictures: Draw) -> None:
    with torch.random.fork_rng():
        swin = torchvision.models.swin_t(num_classes=3).eval()
        convnext = torchvision.models.convnext_tiny(num_classes=3).eval()
    for path in ("features.1.0", "features.7.1", "norm"):
        with pytest.raises(ValueError, match=r"looks like \(B, h, w, C\) for pictures of 64 x 64"):
            cams(swin, pictures(1, 64), [path])
    assert cams(swin, pictures(1, 64), ["permute"]).maps["permute", "gradcam"].shape[2:] == (2, 2)
    assert cams(convnext, pictures(1, 64), ["features.1"]).maps["features.1", "gradcam"].any()
    with pytest.raises(ValueError, match=r"looks like \(B, h, w, C\)"):
        cams(convnext, pictures(1, 64), ["features.3.0.block.2"])


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64)])
def test_maps_that_do_not_follow_the_picture_stay_maps(
    size: tuple[int, int], small_vgg: Build
) -> None:
    """Adaptive pooling gives 7 x 7 of any picture, global pooling 1 x 1."""
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    for head, side in (("fc", 7), ("gap", 1)):
        model = small_vgg(head=head)
        assert cams(model, x, ["avgpool"]).maps["avgpool", "gradcam"].shape[2:] == (side, side)


def test_windows_in_the_place_of_pictures_are_no_maps() -> None:
    windows = (lambda x: x.reshape(-1, 6, 2, 2), lambda x: x.reshape(2, 6, 4, 4))
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"layer 'form' has no map: its output is \(8, 6, 2, 2\)"):
        cams(drawn(Returning(*windows)), x, ["form"])


# What modules return -------------------------------------------------------------------------

Pair = namedtuple("Pair", "output attention")
WITH_ATTENTION = {
    "tuple": (lambda x: (x, x.flatten(2).mT @ x.flatten(2)), lambda pair: pair[0]),
    "list": (lambda x: [x, None], lambda pair: pair[0]),
    "heads": (lambda x: (x, torch.ones(len(x), 2, 16, 16)), lambda pair: pair[0]),
    "gate": (lambda x: (x, x.mean(1, keepdim=True)), lambda pair: pair[0]),
    "named tuple": (lambda x: Pair(x, x.mean((2, 3))), lambda pair: pair.output),
    "dict": (lambda x: {"pooled": x.mean((2, 3)), "output": x}, lambda found: found["output"]),
    "ordered": (lambda x: OrderedDict(output=x, scale=1.0), lambda found: found["output"]),
}


@pytest.mark.parametrize("form", WITH_ATTENTION)
def test_a_module_that_returns_its_attention_too_is_explained(
    form: str, untouched: Untouched
) -> None:
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    model = drawn(Returning(*WITH_ATTENTION[form]))
    with untouched(model):
        found = cams(model, x, ["form"], ("gradcam", "eigencam"), 1)
    expected = cams(model, x, ["conv"], ("gradcam", "eigencam"), 1)
    for method in ("gradcam", "eigencam"):
        torch.testing.assert_close(found.maps["form", method], expected.maps["conv", method])
    assert found.maps["form", "gradcam"].max() > 0


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ((lambda x: (x, x)), r"tuple of \(2, 6, 4, 4\), \(2, 6, 4, 4\)"),
        ((lambda x: (None, x)), r"tuple of NoneType, \(2, 6, 4, 4\)"),
        ((lambda x: {"a": x, "b": x[:, :, 0]}), r"dict of a \(2, 6, 4, 4\), b \(2, 6, 4\)"),
        ((lambda x: SimpleNamespace(x=x)), "SimpleNamespace"),
    ],
)
def test_an_output_that_cannot_be_told_is_described(form: Any, words: str) -> None:
    model = drawn(Returning(form, lambda found: torch.zeros(2, 6, 4, 4, dtype=torch.float64)))
    with pytest.raises(TypeError, match=f"the output of 'form' is not one tensor, but {words}$"):
        cams(model, torch.rand(2, 3, 32, 32, dtype=torch.float64), ["form"])


class Head(nn.Module):
    """A network whose logits are returned in another form."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, 8)
        self.head = nn.Linear(6, 4)
        self.form = form

    def forward(self, x: Tensor) -> Any:
        features = self.conv(x).tanh()
        return self.form(self.head(features.mean((2, 3))), features)


Output = namedtuple("Output", "aux_logits logits")
LOGITS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda logits, features: (logits, features),
    "loss first": lambda logits, features: [logits.sum(), features, logits],
    "dict": lambda logits, features: {"logits": logits, "aux": logits * 2},
    "dict without the word": lambda logits, features: {"features": features, "scores": logits},
    "named tuple": lambda logits, features: Output(logits * 2, logits),
    "object": lambda logits, features: SimpleNamespace(logits=logits, loss=None),
}


@pytest.mark.parametrize("form", LOGITS)
def test_logits_are_found_in_what_a_network_returns(form: str) -> None:
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    plain = drawn(Head(lambda logits, _: logits))
    model = drawn(Head(LOGITS[form]))
    methods = ("gradcam", "layercam", "scorecam")
    found, expected = (cams(one, x, ["conv"], methods) for one in (model, plain))
    torch.testing.assert_close(found.logits, expected.logits)
    for key, raw in expected.maps.items():
        torch.testing.assert_close(found.maps[key], raw)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda y, _: (y, y * 2), r"not tuple of \(2, 4\), \(2, 4\): which of these are the"),
        (lambda y, f: {"features": f}, r"not dict of features \(2, 6, 4, 4\)$"),
        (lambda y, _: y[0], r"not \(4,\)$"),
        (lambda y, _: y[:1], r"not \(1, 4\)$"),
        (lambda y, _: None, "not NoneType$"),
        (lambda y, _: "cat", "not str$"),
    ],
)
def test_logits_that_cannot_be_told_are_described(form: Any, words: str) -> None:
    with pytest.raises(ValueError, match=rf"the model must return logits \(B, K\), {words}"):
        cams(drawn(Head(form)), torch.rand(2, 3, 32, 32, dtype=torch.float64), ["conv"])


@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
@pytest.mark.parametrize("way", ["script", "trace"])
def test_a_scripted_module_says_that_it_is_one(
    way: str, method: str, pictures: Draw, untouched: Untouched
) -> None:
    inner, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), pictures(1, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still there
        scripted = torch.jit.script(inner) if way == "script" else torch.jit.trace(inner, x)
    model = nn.Sequential(nn.Identity(), scripted, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for layer in ("1", "1.1"):
        words = rf"module '{layer}' is scripted, and runs no hooks: give the network as it was"
        with untouched(model), pytest.raises(ValueError, match=words):
            cams(model, x, ["0", layer], (method,))
    assert cams(model, x, ["2"], (method,)).maps["2", method].any()  # behind it


def test_logits_that_do_not_depend_on_a_layer_say_so() -> None:
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)

    class Beside(Head):
        def __init__(self) -> None:
            super().__init__(lambda logits, _: logits)
            self.other = nn.Conv2d(3, 2, 8, 8)

        def forward(self, x: Tensor) -> Any:
            self.other(x)
            return super().forward(x)

    for layers in (["other"], ["conv", "other"]):
        with pytest.raises(ValueError, match="no gradient at layer 'other': they do not depend"):
            cams(drawn(Beside()), x, layers)
    with pytest.raises(ValueError, match=r"no gradient at layer 'conv': .* or are detached"):
        cams(drawn(Head(lambda logits, _: logits.detach())), x, ["conv"])


# Targets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (2, [[2, 2]]),
        (np.int64(2), [[2, 2]]),
        ([2, 0], [[2, 2], [0, 0]]),
        ((2,), [[2, 2]]),
        ([[2, 0]], [[2, 0]]),
        (np.array([1, 3]), [[1, 1], [3, 3]]),
        (torch.tensor(3, dtype=torch.uint8), [[3, 3]]),
        ([None, 2], None),
    ],
)
def test_classes_may_be_given_as_numbers(targets: Any, expected: list[list[int]] | None) -> None:
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    found = cams(drawn(Head(lambda logits, _: logits)), x, ["conv"], targets=targets)
    assert found.targets.tolist() == (expected or [found.logits.argmax(1).tolist(), [2, 2]])
    assert found.targets.dtype is torch.int64


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.eye(4)[:2], r"targets \(2, 4\) look one-hot: give class indices, such as"),
        (torch.eye(4)[:2].long(), r"targets \(2, 4\) look one-hot"),
        (torch.eye(4)[:2].bool(), r"targets \(2, 4\) look one-hot"),
        (torch.tensor([0.5]), "must be class indices, not torch.float32"),
        (torch.tensor([True]), "must be class indices, not torch.bool"),
        ("cat", "must be class indices, not 'cat'"),
        (["cat"], "must be class indices, not"),
        ([[1, 2], [3]], "must be class indices, not"),
        (4, "a class from 0 to 3"),
        ([None, -1], "a class from 0 to 3"),
        (torch.zeros(1, 1, 1, dtype=torch.long), r"must be \(T,\) or \(T, 2\), not \(1, 1, 1\)"),
    ],
)
def test_targets_that_are_no_classes_are_refused(targets: Any, words: str) -> None:
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    with pytest.raises(ValueError, match=words):
        cams(drawn(Head(lambda logits, _: logits)), x, ["conv"], targets=targets)


def test_one_hot_targets_of_as_many_pictures_as_classes_are_refused() -> None:
    x, model = torch.rand(4, 3, 32, 32, dtype=torch.float64), drawn(Head(lambda y, _: y))
    with pytest.raises(ValueError, match=r"targets \(4, 4\) look one-hot"):
        cams(model, x, ["conv"], targets=torch.eye(4).long())
    indices = torch.tensor([[0, 1, 2, 3], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    assert cams(model, x, ["conv"], targets=indices).targets.tolist() == indices.tolist()


# Modes of the caller -------------------------------------------------------------------------


def test_inference_mode_and_autocast_change_nothing(
    small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model, x = small_vgg(attention="cbam", architecture="vgg19_bn"), pictures(2, 32)
    layers = [model.path("block3"), model.path("conv5_4")]
    expected = cams(model, x, layers, [*METHODS])
    for mode in (
        torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.no_grad(),
    ):
        with untouched(model), mode:
            found = cams(model, pictures(2, 32), layers, [*METHODS])
        assert torch.equal(found.logits, expected.logits)
        for key, raw in expected.maps.items():
            assert torch.equal(found.maps[key], raw), key
            assert not found.maps[key].is_inference()


def test_a_network_made_in_inference_mode_works_without_gradients_or_says_so(
    small_vgg: Build, pictures: Draw
) -> None:
    with torch.inference_mode():
        model = small_vgg(architecture="vgg19_bn")
    x, layer = pictures(1, 32), "features.4"
    for method in ("eigencam", "scorecam"):
        assert cams(model, x, [layer], (method,)).maps[layer, method].any()
    with pytest.raises(ValueError, match=r"the model was made inside torch\.inference_mode\(\)"):
        cams(model, x, [layer])


def test_capture_inside_inference_mode_sees_outputs_but_has_no_graph(
    small_vgg: Build, pictures: Draw
) -> None:
    model, x = small_vgg().eval(), pictures(1, 32)
    with torch.inference_mode(), capture(model, ["features.0"]) as trace:
        model(x)
    assert torch.equal(trace.outputs["features.0"], model.features[0](x))
    with (
        pytest.raises(RuntimeError, match=r"records no gradients: use torch\.no_grad"),
        torch.inference_mode(),
        capture(model, graph=["features.0"]),
    ):
        model(x)


# Modules that run several times ----------------------------------------------------------------


class Repeated(nn.Module):
    """The network of PyTorch's tutorial, with its pooling and its ReLU once for both places, or one
    of each for each."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.relu1, self.pool1 = nn.ReLU(), nn.MaxPool2d(2)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        if shared:
            del self.relu1, self.pool1
        self.head = nn.Linear(16 * 5 * 5, 4)

    def forward(self, x: Tensor) -> Tensor:
        relu, pool = getattr(self, "relu1", self.relu), getattr(self, "pool1", self.pool)
        x = pool(relu(self.conv1(x)))
        return self.head(self.pool(self.relu(self.conv2(x))).flatten(1))


def test_of_a_module_that_runs_twice_the_last_output_is_explained(pictures: Draw) -> None:
    twice, once = drawn(Repeated(shared=True)), drawn(Repeated(shared=False))
    once.load_state_dict(twice.state_dict())
    methods = tuple(key for key in METHODS if key != "attention*gradient")
    layers, x = ["conv1", "conv2", "relu", "pool"], pictures(2, 32).double()
    found, wanted = (cams(model, x, layers, methods, [0, 3]) for model in (twice, once))
    assert found.order == wanted.order == tuple(layers)
    assert found.maps.keys() == wanted.maps.keys()
    for key, raw in wanted.maps.items():
        torch.testing.assert_close(found.maps[key], raw, msg=str(key))


# Methods -------------------------------------------------------------------------------------


def test_contributions_are_to_the_logit_whatever_method_is_first(
    pictures: Draw, small_vgg: Build
) -> None:
    model, x = small_vgg().eval(), pictures(1, 32)
    wanted = cams(model, x, ["features.4"], ("gradcam",)).contributions["features.4"]
    for methods in (("finercam", "gradcam"), ("shapleycam", "eigencam", "layercam")):
        found = cams(model, x, ["features.4"], methods).contributions["features.4"]
        torch.testing.assert_close(found, wanted)
    assert cams(model, x, ["features.4"], ("finercam",)).contributions == {}


def test_another_method_of_many_passes_is_computed_by_its_own_function(
    monkeypatch: pytest.MonkeyPatch, pictures: Draw, small_vgg: Build
) -> None:
    def ramp(predict: Any, image: Tensor, activation: Tensor, targets: Tensor, **_: Any) -> Tensor:
        assert predict(image[None]).shape == (1, 10)
        return activation.mean(0) * (targets + 1)[:, None, None]

    method = Method("passes", ramp, "Ramp", "The mean over channels.")
    monkeypatch.setitem(driver.METHODS, "ramp", method)
    model, x = small_vgg().eval(), pictures(2, 32)
    found = cams(model, x, ["features.4"], ("ramp", "scorecam"), [0, 4]).maps
    with torch.no_grad():
        mean = model.features[:5](x).mean(1)
    torch.testing.assert_close(found["features.4", "ramp"], torch.stack([mean, 5 * mean]))
    assert not torch.allclose(found["features.4", "ramp"], found["features.4", "scorecam"])

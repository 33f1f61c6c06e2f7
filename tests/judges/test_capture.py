"""What capture sees, whose it is, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
import torch.nn.functional as F
from conftest import count_hooks
from torch import Tensor, nn

from vggviz.attention import ATTENTION
from vggviz.hooks.capture import Trace, capture, evaluating
from vggviz.hooks.tap import Tap
from vggviz.networks import Network

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]

LAYERS = ["features.0", "features.1", "features.19", "features.34", "features.35", "features.36"]
KINDS = {"gate": "volume", "se": "channel", "eca": "channel", "spatial": "spatial"}
KINDS |= {"cbam": "channel spatial", "softmax": "pool", "self_attention": "token"}
KINDS |= {"simam": "volume", "bam": "volume", "coordinate": "axis axis"}
KINDS |= {"triplet": "spatial axis axis", "selective_kernel": "branch"}


def by_hand(model: Network, x: Tensor, upto: int) -> Tensor:
    """The output of `features[upto]` of a network without attention, no hooks involved."""
    for layer in list(model.features)[: upto + 1]:
        x = layer(x)
    return x


# What is seen --------------------------------------------------------------------------------


def test_outputs_are_those_of_the_layers(
    small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model, x = small_vgg().eval(), pictures(2, 32)
    with torch.no_grad():
        bare = model(x)
        with untouched(model), capture(model, LAYERS) as trace:
            logits = model(x)
        assert torch.equal(logits, bare)
        assert list(trace.outputs) == LAYERS
        for path, seen in trace.outputs.items():
            assert torch.equal(seen, by_hand(model, x, int(path.split(".")[1])))
            assert not seen.requires_grad
    assert trace.taps == {}


def test_the_graph_begins_at_the_lowest_named_layer(small_vgg: Build, pictures: Draw) -> None:
    model, x = small_vgg().eval(), pictures(1, 32)
    with capture(model, LAYERS, graph=["features.35", "features.19"]) as trace, torch.no_grad():
        logits = model(x)
    assert logits.requires_grad
    for path, seen in trace.outputs.items():
        assert seen.requires_grad == (int(path.split(".")[1]) >= 19)
    lower, upper = trace.outputs["features.19"], trace.outputs["features.35"]
    assert (lower.is_leaf, upper.is_leaf) == (True, False)
    got = torch.autograd.grad(logits[0, 3], [lower, upper])
    # The same gradients by hand: the network is run on from a leaf put in at features.19.
    leaf = by_hand(model, x, 19).detach().requires_grad_()
    y = leaf
    for layer in list(model.features)[20:36]:
        y = layer(y)
    top = model.classifier(model.avgpool(model.features[36](y)).flatten(1))
    for mine, theirs in zip(got, torch.autograd.grad(top[0, 3], [leaf, y]), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_of_a_module_that_runs_twice_the_last_output_is_kept() -> None:
    class Twice(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](self[0](x))

    model = Twice(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU())
    nn.init.constant_(model[0].weight, 2.0)
    with torch.no_grad(), capture(model, ["0", "1"]) as trace:
        model(torch.ones(1, 1, 2, 2))
    assert list(trace.outputs) == ["0"]  # the other never ran
    assert torch.equal(trace.outputs["0"], torch.full((1, 1, 2, 2), 4.0))


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("alive", [False, True])
def test_every_tap_is_read(
    attention: str, alive: bool, small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    stages = ("block3", "block5")
    model, x = small_vgg(attention=attention, stages=stages).eval(), pictures(2)
    graph = ["features.17"] if alive else []  # the last ReLU of block3, below both stages
    with untouched(model), capture(model, graph=graph) as trace, torch.no_grad():
        logits = model(x)
    assert [reading.kind for reading in trace.taps.values()] == KINDS[attention].split() * 2
    for path, reading in trace.taps.items():
        stage = path.split(".")[1]
        rows, channels = {"block3": (16, 32), "block5": (4, 64)}[stage]
        keys = min(rows, 14)
        assert isinstance(model.get_submodule(path), Tap)
        side = {"rows": (rows, 1), "columns": (1, rows)}.get(path.rpartition(".")[2], (rows, rows))
        assert reading.grid == side
        assert reading.keys == ((keys, keys) if reading.kind == "token" else None)
        shape = {
            "channel": (2, channels),
            "spatial": (2, rows, rows),
            "volume": (2, channels, rows, rows),
            "token": (2, 4, rows**2, keys**2),
            "pool": (2, rows**2),
            "axis": (2, channels, rows),
            "branch": (2, 2, channels),
        }[reading.kind]
        assert reading.weights.shape == shape
        # SimAM's weights are a function of its input, which is alive too.
        assert reading.weights.requires_grad == alive
        if reading.kind in ("token", "pool"):
            torch.testing.assert_close(reading.weights.sum(-1), torch.ones(shape[:-1]))
        else:
            assert 0 < reading.weights.min() < reading.weights.max() <= 1
    if alive:  # the logits depend on what was read, and not on a copy of it
        points = [reading.weights for reading in trace.taps.values()]
        for gradient in torch.autograd.grad(logits[:, 0].sum(), points):
            assert gradient.abs().max() > 0


def test_a_tap_can_begin_the_graph(small_vgg: Build, pictures: Draw) -> None:
    model = small_vgg(attention="cbam", stages=("block5",)).eval()
    tap = "attention.block5.module.spatial.spatial"
    with capture(model, graph=[tap]) as trace, torch.no_grad():
        logits = model(pictures())
    assert trace.taps[tap].weights.is_leaf
    assert logits.requires_grad
    assert not trace.taps["attention.block5.module.channel.channel"].weights.requires_grad


# Errors --------------------------------------------------------------------------------------


def test_an_unknown_path_is_named(small_vgg: Build, untouched: Untouched) -> None:
    model = small_vgg()
    with (
        untouched(model),
        pytest.raises(ValueError, match=r"the model has no module 'features\.99', 'x'"),
        capture(model, ["features.0", "features.99"], graph=["x"]),
    ):
        pytest.fail("the block was entered")


@pytest.mark.parametrize("graph", [[], ["0"]])
def test_an_output_that_is_no_tensor_is_named(graph: list[str], untouched: Untouched) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class First(nn.Module):
        def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
            return pair[0]

    model = nn.Sequential(nn.Conv2d(1, 1, 1), Pair(), First())
    with (
        untouched(model),
        pytest.raises(TypeError, match="the output of '1' is not one tensor"),
        capture(model, ["1"], graph=graph),
        torch.no_grad(),
    ):
        model(torch.ones(1, 1, 2, 2))


class Overwriting(nn.Module):
    """relu_, called as a function: no module tells of it beforehand."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.conv.weight, -1.0)
        self.relu = nn.ReLU(inplace=True) if inplace else F.relu_

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x))


def test_a_function_that_works_in_place_overwrites_nothing(untouched: Untouched) -> None:
    model = Overwriting(inplace=False)
    for graph in ([], ["conv"]):
        with untouched(model), torch.no_grad(), capture(model, ["conv"], graph=graph) as trace:
            y = model(torch.ones(1, 1, 2, 2))
        assert torch.equal(trace.outputs["conv"], torch.full((1, 1, 2, 2), -1.0))
        assert torch.equal(y, torch.zeros(1, 1, 2, 2))


def test_an_output_overwritten_behind_our_back_raises(untouched: Untouched) -> None:
    class Keeping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.last = x + 1
            return self.last

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Keeping()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.inner(x)
            self.inner.last.zero_()
            return y

    model = Late()
    with (
        untouched(model),
        pytest.raises(RuntimeError, match="the output of 'inner' was overwritten in place"),
        torch.no_grad(),
        capture(model, ["inner"]),
    ):
        model(torch.ones(1, 1, 2, 2))


def test_modules_that_work_in_place_overwrite_nothing(untouched: Untouched) -> None:
    model = Overwriting(inplace=True)
    with untouched(model), torch.no_grad(), capture(model, ["conv", "relu"]) as trace:
        model(torch.ones(1, 1, 2, 2))
    assert torch.equal(trace.outputs["conv"], torch.full((1, 1, 2, 2), -1.0))
    assert torch.equal(trace.outputs["relu"], torch.zeros(1, 1, 2, 2))


class Stop(Exception):
    pass


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert torch.is_grad_enabled()  # the graph has begun: this must be undone too
        raise Stop


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("where", ["in the network", "in the block"])
def test_an_exception_leaves_everything_as_it_was(
    where: str, training: bool, small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model = small_vgg(attention="cbam", architecture="vgg19_bn").train(training)
    model.features[0].weight.grad = torch.ones_like(model.features[0].weight)
    model.features[3].requires_grad_(False)
    if where == "in the network":
        model.classifier = Raising()

    def run() -> None:
        with evaluating(model), capture(model, graph=["features.0"]) as trace, torch.no_grad():
            model(pictures(size=32))
            assert count_hooks(model) == 1 + len(trace.taps)
            raise Stop

    with untouched(model), pytest.raises(Stop):
        run()


def test_gradients_are_recorded_or_not_as_before(small_vgg: Build, pictures: Draw) -> None:
    model = small_vgg().eval()
    with torch.no_grad():
        with capture(model, graph=["features.0"]):
            assert model(pictures()).requires_grad
        assert not torch.is_grad_enabled()


def test_mixed_training_flags_come_back_one_by_one(small_vgg: Build, untouched: Untouched) -> None:
    model = small_vgg(architecture="vgg19_bn").train()
    model.features[1].eval()  # one frozen norm
    model.classifier.training = False  # and a parent that disagrees with its children
    with untouched(model), evaluating(model):
        assert not any(module.training for module in model.modules())
    with untouched(model), pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert not model.features[1].training
    assert model.features[4].training
    assert model.classifier[0].training
    assert not model.classifier.training


TRACES: dict[str, Callable[[Network], object]] = {
    "training flag": lambda model: model.classifier.eval(),
    "requires_grad": lambda model: model.features[0].requires_grad_(False),
    "gradient": lambda model: setattr(model.features[0].bias, "grad", torch.zeros(8)),
    "hook": lambda model: model.avgpool.register_forward_pre_hook(lambda *_: None),
    "batch statistics": lambda model: model.features[1].running_mean.add_(1),
    "random state": lambda model: torch.rand(1),
    "recording": lambda model: torch.set_grad_enabled(False),
}


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("raises", [False, True])
def test_no_trace_goes_unnoticed(
    trace: str, raises: bool, small_vgg: Build, untouched: Untouched
) -> None:
    """The fixture that the tests here and elsewhere rely on."""
    model = small_vgg(architecture="vgg19_bn")

    def leave_it() -> None:
        with untouched(model):
            TRACES[trace](model)
            if raises:
                raise Stop

    with torch.random.fork_rng(), torch.enable_grad(), pytest.raises(AssertionError):
        leave_it()


# Whose it is ---------------------------------------------------------------------------------


def test_nested_captures_see_each_only_its_own(
    small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model = small_vgg(attention="spatial", stages=("block5",)).eval()
    outer_x, inner_x = pictures(2)[:1], pictures(2)[1:]
    tap = "attention.block5.module.spatial"
    with untouched(model), torch.no_grad():
        with capture(model, ["features.0"]) as outer:
            model(outer_x)
            seen, read = outer.outputs["features.0"], outer.taps[tap]
            with capture(model, ["features.0", "features.5"]) as inner:
                model(inner_x)
            with pytest.raises(Stop), capture(model, ["features.0"]):
                raise Stop
            assert list(outer.outputs) == ["features.0"]
            assert outer.outputs["features.0"] is seen
            assert outer.taps[tap] is read
            model(outer_x)
            assert outer.taps[tap] is not read  # the outer one is watching again
        for trace, x in ((outer, outer_x), (inner, inner_x)):
            assert torch.equal(trace.outputs["features.0"], model.features[0](x))
            assert list(trace.taps) == [tap]
    assert not torch.equal(outer.taps[tap].weights, inner.taps[tap].weights)


# What stays ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_nothing_captured_outlives_its_trace(
    fails: bool, inplace: bool, small_vgg: Build, pictures: Draw
) -> None:
    """Freed as soon as the last name is gone: the garbage collector is not needed."""
    model = small_vgg(attention="self_attention", stages=("block5",)).eval()
    if inplace:
        model.features[35] = nn.ReLU(inplace=True)

    def run() -> tuple[Trace, list[weakref.ref[Tensor]]]:
        with capture(model, LAYERS, graph=["features.19"]) as trace, torch.no_grad():
            logits = model(pictures())
            seen = [*trace.outputs.values(), *(r.weights for r in trace.taps.values()), logits]
            references = [weakref.ref(tensor) for tensor in seen]
            if fails:
                raise LookupError(references)
        return trace, references

    gc.disable()
    try:
        if fails:
            try:
                run()
            except LookupError as error:
                references = error.args[0]
            assert len(references) == len(LAYERS) + 2
        else:
            trace, references = run()
            alive = [reference() is not None for reference in references]
            assert alive == [True] * (len(LAYERS) + 1) + [False]
            del trace
        assert [reference() for reference in references] == [None] * (len(LAYERS) + 2)
    finally:
        gc.enable()

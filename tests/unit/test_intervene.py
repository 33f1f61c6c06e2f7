"""What an intervention changes, for whom, and that it leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from conftest import count_hooks
from torch import Tensor, nn

from vggviz.attention import ATTENTION
from vggviz.attention.se import SqueezeExcitation
from vggviz.hooks.capture import capture, intervene
from vggviz.networks import Network
from vggviz.types import Kind

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]


def halved(path: str, kind: Kind, weights: Tensor) -> Tensor:
    return weights / 2


def test_the_module_works_with_what_it_is_given(untouched: Untouched) -> None:
    module = SqueezeExcitation(8).eval()
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[str, Kind]] = []

    def ramp(path: str, kind: Kind, weights: Tensor) -> Tensor:
        seen.append((path, kind))
        return torch.arange(16.0).reshape(weights.shape)

    with torch.no_grad(), untouched(module):
        with intervene(module, ramp):
            y = module(x)
        assert torch.equal(y, x * torch.arange(16.0).reshape(2, 8, 1, 1))
        assert seen == [("channel", "channel")]


@pytest.mark.parametrize("attention", ATTENTION)
def test_every_tap_is_changed_and_only_inside(
    attention: str, small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model, x = small_vgg(attention=attention, stages=("block4", "block5")).eval(), pictures(2, 32)
    with torch.no_grad(), untouched(model):
        before = model(x)
        with capture(model) as own:
            model(x)
        with intervene(model, halved):
            assert count_hooks(model) == len(own.taps)
            bare = model(x)
            with capture(model) as changed:
                watched = model(x)
        assert torch.equal(model(x), before)
    assert torch.equal(bare, watched)
    assert not torch.allclose(bare, before)
    first = min(own.taps)  # block4 gets the same features either way
    torch.testing.assert_close(changed.taps[first].weights, own.taps[first].weights / 2)


def test_the_identity_changes_nothing(small_vgg: Build, pictures: Draw) -> None:
    model, x = small_vgg(attention="cbam").eval(), pictures(2, 32)
    with torch.no_grad():
        before = model(x)
        with intervene(model, lambda path, kind, weights: weights.clone()):
            assert torch.equal(model(x), before)


def test_a_capture_around_it_sees_the_networks_own_weights() -> None:
    module = SqueezeExcitation(8).eval()
    x = torch.ones(1, 8, 2, 2)
    with torch.no_grad(), capture(module) as plain:
        module(x)
    with torch.no_grad(), capture(module) as outer, intervene(module, halved):
        module(x)
    assert torch.equal(outer.taps["channel"].weights, plain.taps["channel"].weights)


def test_interventions_nest() -> None:
    module = SqueezeExcitation(8).eval()
    x = torch.ones(1, 8, 2, 2)
    with torch.no_grad(), intervene(module, lambda path, kind, weights: torch.ones_like(weights)):
        with intervene(module, halved):
            assert torch.equal(module(x), x / 2)
        assert torch.equal(module(x), x)


@pytest.mark.parametrize("fault", ["in the block", "in the change", "another shape"])
def test_an_exception_leaves_everything_as_it_was(
    fault: str, small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model = small_vgg(attention="cbam", stages=("block5",), architecture="vgg19_bn")
    model.eval().features[3].train()

    def change(path: str, kind: Kind, weights: Tensor) -> Tensor:
        if fault == "in the change":
            raise LookupError
        return weights[:, :1] if fault == "another shape" else weights

    def run() -> None:
        with torch.no_grad(), intervene(model, change):
            if fault == "in the block":
                raise LookupError
            model(pictures(1, 32))

    wanted = (LookupError, ValueError) if fault != "another shape" else ValueError
    with untouched(model), pytest.raises(wanted):
        run()
    if fault == "another shape":
        with pytest.raises(ValueError, match=r"'attention\.block5.*\(1, 64\), not .* \(1, 1\)"):
            run()


def test_another_thread_is_not_changed(small_vgg: Build, pictures: Draw) -> None:
    model, x = small_vgg(attention="spatial", stages=("block5",)).eval(), pictures(1, 32)
    found: list[Tensor] = []

    def other() -> None:
        with torch.no_grad():
            found.append(model(x))

    with torch.no_grad():
        before = model(x)
        with intervene(model, halved):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            assert not torch.equal(model(x), before)
    assert torch.equal(found[0], before)


def test_gradients_reach_the_changed_weights(small_vgg: Build, pictures: Draw) -> None:
    model, x = small_vgg(attention="spatial", stages=("block5",)).eval(), pictures(1, 32)
    tap = "attention.block5.module.spatial"
    with intervene(model, halved), capture(model, graph=[tap]) as trace, torch.no_grad():
        logits = model(x)
    gradient = torch.autograd.grad(logits[0, 0], trace.taps[tap].weights)[0]
    assert gradient.abs().max() > 0

"""Attention switched off: what passes on, for whom, and that nothing is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from vggviz.attention import ATTENTION
from vggviz.hooks.capture import bypass, capture
from vggviz.networks import Network
from vggviz.networks.vgg import VGG

Untouched = Callable[[nn.Module], AbstractContextManager[None]]
Build = Callable[..., Network]
Draw = Callable[..., Tensor]


def stages(model: Network) -> list[str]:
    return [f"attention.{stage}" for stage in model.attention]


@pytest.mark.parametrize("attention", ATTENTION)
def test_the_network_answers_as_the_same_one_without_attention(
    attention: str, small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model, x = small_vgg(attention=attention, stages=("block3", "block5")).eval(), pictures(2, 32)
    plain = small_vgg(attention="none").eval()
    plain.load_state_dict(model.state_dict() | {}, strict=False)
    with torch.no_grad(), untouched(model):
        before = model(x)
        with bypass(model, stages(model)):
            off = model(x)
        assert torch.equal(model(x), before)
    assert torch.equal(off, plain(x))
    assert not torch.allclose(off, before)


@pytest.mark.parametrize("placement", ["before_pool", "after_pool"])
def test_what_arrives_at_the_lowest_stage_is_enough(
    placement: str, small_vgg: Build, pictures: Draw
) -> None:
    model = small_vgg(attention="cbam", stages=VGG.stages[2:], placement=placement).eval()
    x, paths = pictures(2, 32), [model.input_path(stage) for stage in VGG.stages]
    with torch.no_grad():
        with capture(model, paths) as trace:
            model(x)
        for stage, path in zip(VGG.stages, paths, strict=True):
            assert torch.equal(trace.outputs[path], model.features_before(x, stage))
        with bypass(model, stages(model)):
            above = model(trace.outputs[model.input_path("block3")], "block3")
            assert torch.equal(above, model(x))


def test_an_unknown_path_and_an_exception_leave_everything_as_it_was(
    small_vgg: Build, pictures: Draw, untouched: Untouched
) -> None:
    model = small_vgg(attention="se").eval()
    unknown = pytest.raises(ValueError, match=r"no module 'attention\.block9'")
    with untouched(model), unknown, bypass(model, ["attention.block9"]):
        pass
    with untouched(model), pytest.raises(LookupError), bypass(model, stages(model)):
        raise LookupError


def test_another_thread_is_not_changed(small_vgg: Build, pictures: Draw) -> None:
    model, x = small_vgg(attention="spatial").eval(), pictures(1, 32)
    found: list[Tensor] = []

    def other() -> None:
        with torch.no_grad():
            found.append(model(x))

    with torch.no_grad():
        before = model(x)
        with bypass(model, stages(model)):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
    assert torch.equal(found[0], before)

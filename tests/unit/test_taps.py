"""A tap is the identity, seen by name."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from vggviz.hooks.tap import Tap
from vggviz.networks import NetworkConfig, build_network
from vggviz.networks.vgg import VGG
from vggviz.types import Kind


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_tap_is_the_identity(kind: Kind) -> None:
    tap, weights = Tap(kind), torch.rand(2, 3, requires_grad=True)
    assert tap(weights, (1, 3), (1, 3)) is weights
    assert tap.kind == kind
    assert repr(tap) == f"Tap({kind})"


def test_a_tap_leaves_no_trace_in_a_module() -> None:
    bare = nn.Sequential(nn.Linear(3, 2))
    tapped = nn.Sequential(nn.Linear(3, 2), Tap("channel"))
    assert list(tapped.state_dict()) == list(bare.state_dict())
    assert not list(tapped[1].parameters())
    assert not list(tapped[1].buffers())
    tapped[1](torch.rand(2, 3), (1, 1))
    assert not [value for value in vars(tapped[1]).values() if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize(
    ("attention", "taps"),
    [
        ("none", []),
        ("se", ["channel"]),
        ("cbam", ["channel.channel", "spatial.spatial"]),
        ("self_attention", ["token"]),
    ],
)
def test_taps_are_found_by_stage(attention: str, taps: list[str]) -> None:
    with torch.device("meta"):
        network = build_network(NetworkConfig(attention=attention, head="gap", width=0.125))
    found = [path for path, module in network.named_modules() if isinstance(module, Tap)]
    assert found == [f"attention.{stage}.module.{tap}" for stage in VGG.stages for tap in taps]

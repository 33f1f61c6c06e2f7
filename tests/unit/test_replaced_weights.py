"""Weights of older versions are answered with what took their place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from vggviz.images import Preprocess
from vggviz.networks import Network
from vggviz.weights import Backbone, Card, WeightsError, load_network, read_card, save_network


def test_the_old_name() -> None:
    with pytest.raises(WeightsError) as raised:
        load_network("tiny50", "cbam")
    assert str(raised.value) == (
        "tiny50 came with versions before 0.2: choose everyday, which took its place"
    )


def test_an_adapter_of_the_old_weights(small_vgg: Callable[..., Network], tmp_path: Path) -> None:
    model = small_vgg(attention="se", architecture="vgg19_bn")
    labels = tuple(f"thing {k}" for k in range(model.config.num_classes))
    card, file = Card("mine", model.config, Preprocess(32, 32), labels), tmp_path / "a.safetensors"
    save_network(model, card, file)
    assert read_card(file) == card
    under = {"weights": "tiny50", "attention": "none", "fingerprint": "0" * 64}
    described = json.dumps({**card.to_json(), "backbone": under})
    save_file(load_file(file), file, {"vggviz": described})
    sentence = (
        "this adapter completes tiny50, which came with versions before 0.2: train it again on "
        "everyday, or open it with one of these"
    )
    for read in (read_card, load_network):
        with pytest.raises(WeightsError) as raised:
            read(file)
        assert str(raised.value) == sentence
    with pytest.raises(WeightsError, match="adapter completes tiny50"):
        Backbone("tiny50", "none", "0" * 64)
    assert replace(card, backbone=Backbone("everyday", "none", "0" * 64)).backbone

"""Adapters for networks that vggviz did not build: their attention alone, and its card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from vggviz.networks import CutNetwork, insert_attention, load_weights, read_checkpoint
from vggviz.networks.protocol import fresh_attention
from vggviz.weights.card import Card, WeightsError
from vggviz.weights.tensors import fingerprint, read_card, to_half, write_safetensors

__all__ = ["insert_adapter", "save_adapter"]

CHANNELS, NETWORK = "attention_channels", "network_sha256"
"""Facts in the card: the channels by stage, and the `_digest` of the network."""


def save_adapter(model: CutNetwork, card: Card, file: Path) -> None:
    """Write the attention of `model`, floats in half precision, and `card` atomically.

    The card's `config` has the network's name as its architecture, and module paths with '/' for
    '.' as its stages. Raises OSError where the file can't be written.
    """
    facts = {**card.facts, CHANNELS: model.channels, NETWORK: _digest(model.network)}
    state = {key: to_half(value) for key, value in model.attention.state_dict().items()}
    content = json.dumps(replace(card, facts=facts).to_json())
    write_safetensors(state, {"vggviz": content}, file)


def insert_adapter(network: nn.Module, file: Path) -> Card:
    """Insert the attention of an adapter into the network that it was trained on, in place, and
    return its card.

    Raises WeightsError where the file can't be read, is another kind of weights, or was trained on
    another network or other weights; NetworkError where its tensors do not fit its card.
    """
    card = replace(read_card(file, foreign=True), fingerprint=fingerprint(file))
    if NETWORK not in card.facts or CHANNELS not in card.facts:
        raise WeightsError("no_foreign_adapter", name=file.name)
    own, here = str(card.facts[NETWORK]), _digest(network)
    if own != here:
        values = {"own": own[:12], "here": here[:12], "backbone": card.config.architecture}
        raise WeightsError("other_backbone", name=file.name, **values)
    generator = torch.Generator().manual_seed(0)
    parts = fresh_attention(card.config, dict(card.facts[CHANNELS]), generator, False)
    load_weights(nn.ModuleDict(parts), read_checkpoint(file))
    paths = {stage.replace("/", "."): parts[stage].module for stage in card.config.stages}
    insert_attention(network, paths)
    return card


def _digest(network: nn.Module) -> str:
    """The SHA-256 of all parameters and buffers with their names, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        rows = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(rows.numpy().data)
    return digest.hexdigest()

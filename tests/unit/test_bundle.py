"""The bundled weights: small, offline, and as good as the tables say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vggviz.attention import ATTENTION
from vggviz.data import open_dataset, read_crops
from vggviz.images import Preprocess
from vggviz.locales import CLASSES
from vggviz.weights import assets_folder, bundled_types, load_network, read_backbone

ROOT = Path(__file__).parents[2]
TYPES = ("none", *ATTENTION)
ARCHIVE = ROOT.parent / "shared" / "data" / "tiny-imagenet-50.zip"
MEASURED: dict[str, Any] = json.loads((assets_folder() / "weights" / "evaluation.json").read_text())


def test_every_type_is_there_and_small() -> None:
    assert bundled_types() == TYPES
    for file in (assets_folder() / "weights").iterdir():
        assert file.stat().st_size < 10 << 20, file.name


@pytest.mark.parametrize("attention", TYPES)
def test_a_card_tells_where_the_weights_come_from(attention: str) -> None:
    model, card = load_network("everyday", attention)
    assert card.trained == "all"
    assert card.config.attention == attention
    assert len(card.labels) == len(card.wnids) == 84
    assert set(card.labels) == set(CLASSES["zh"])
    told = {"data", "recipe", "command", "machine", "hours", "validation", "licence", "limits"}
    assert told <= set(card.facts)
    if attention == "none":
        assert {"pretrain", "finetune"} == card.facts["recipe"].keys()
    else:
        assert card.facts["recipe"]["seed"] == 0
        assert card.backbone == read_backbone("everyday", "none")
    stem = load_network("everyday", "none")[0]
    for one, other in zip(
        model.modules_before("block4"), stem.modules_before("block4"), strict=True
    ):
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key])  # one backbone for all


@pytest.fixture(scope="module")
def arriving() -> tuple[Preprocess, Tensor, Tensor]:
    """What arrives at block 4 of all validation pictures, once for all types, and their classes."""
    model, card = load_network("everyday", "none")
    pixels, kept = read_crops(open_dataset(ARCHIVE, "val"), card.preprocess)
    scaled = pixels.float() / 255
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (card.preprocess.mean, card.preprocess.std)
    )
    with torch.no_grad():
        model = model.to(memory_format=torch.channels_last)
        parts = ((part - mean) / std for part in scaled.split(153))
        features = [
            model.features_before(part.contiguous(memory_format=torch.channels_last), "block4")
            for part in parts
        ]
    data = open_dataset(ARCHIVE, "val")
    targets = torch.tensor([card.wnids.index(wnid) for wnid in data.wnids])[data.targets[kept]]
    return card.preprocess, torch.cat(features), targets


@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"no {ARCHIVE.name} beside the checkout")
@pytest.mark.parametrize("attention", TYPES)
def test_top_1_is_what_the_table_says(
    attention: str, arriving: tuple[Preprocess, Tensor, Tensor]
) -> None:
    preprocess, features, targets = arriving
    model, card = load_network("everyday", attention)
    assert card.preprocess == preprocess
    with torch.no_grad():
        logits = torch.cat([model(part, "block4") for part in features.split(153)])
    top1 = float((logits.argmax(1) == targets).float().mean())
    assert top1 == pytest.approx(MEASURED["results"][attention]["top1"]["value"], abs=0.002)

"""The weights in the package, and the list of all weights that have a name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from vggviz.attention import ATTENTION
from vggviz.files import assets_folder
from vggviz.networks import build_network
from vggviz.weights.card import BUNDLED, WEIGHTS, WeightsError
from vggviz.weights.stock import STOCK, stock_config, stock_file
from vggviz.weights.tensors import read_card

__all__ = [
    "CatalogueEntry",
    "assets_folder",
    "bundled_file",
    "bundled_results",
    "bundled_types",
    "doubt_threshold",
    "list_weights",
]


def bundled_types(weights: str = BUNDLED) -> tuple[str, ...]:
    """The attention types of which trained weights come with the package, 'none' included."""
    return tuple(key for key in ("none", *ATTENTION) if _path(weights, key).is_file())


def bundled_file(attention: str, weights: str = BUNDLED) -> Path:
    """The file of bundled weights with this attention. Raises WeightsError where there is none."""
    file = _path(weights, attention)
    if not file.is_file():
        known = ", ".join(bundled_types(weights))
        raise WeightsError("no_bundled_weights", weights=weights, attention=attention, known=known)
    return file


def bundled_results(weights: str, attention: str) -> Mapping[str, Any] | None:
    """The evaluation of bundled weights, in the form of `Evaluation.to_json`; None where there is
    none."""
    file = assets_folder() / "weights" / "evaluation.json"
    if weights != BUNDLED or not file.is_file():
        return None
    return _results(file).get(attention)


def doubt_threshold(weights: str, attention: str) -> Mapping[str, Any] | None:
    """Below which score an answer of bundled weights should be doubted, as measured on pictures of
    other classes; None where that was not measured.

    `score` is 'probability', of the answer, or 'energy', log Σ exp of the logits; `threshold` its
    border; `known_doubted` and `unknown_doubted` the shares of pictures below it, of classes that
    the network knows and of others; `known` and `unknown` how many there were, `auroc` how often a
    known picture scores higher than an unknown one.
    """
    file = assets_folder() / "weights" / f"unknown-{weights}.json"
    if weights not in WEIGHTS or not file.is_file():
        return None
    return _thresholds(file).get(attention)


@lru_cache(maxsize=4)
def _thresholds(file: Path) -> dict[str, Any]:
    thresholds: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["thresholds"]
    return thresholds


@lru_cache(maxsize=1)
def _results(file: Path) -> dict[str, Any]:
    """Cached: the page reads it for every explanation."""
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["results"]
    return results


def _path(weights: str, attention: str) -> Path:
    return assets_folder() / "weights" / f"{weights}-{attention}.safetensors"


class CatalogueEntry(NamedTuple):
    """Named weights with one attention type. `local`: whether they load without a network."""

    weights: str
    attention: str
    parameters: int
    classes: int
    local: bool


def list_weights() -> list[CatalogueEntry]:
    """All named weights × attention types. Raises WeightsError for a damaged bundled file."""
    lines: list[CatalogueEntry] = []
    for name in WEIGHTS:
        for attention in bundled_types() if name == BUNDLED else ("none", *ATTENTION):
            if name == BUNDLED:
                config = read_card(bundled_file(attention)).config
                local = True
            else:
                config = stock_config(name, attention)
                local = name not in STOCK or stock_file(name).is_file()
            model = build_network(config, empty=True)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            lines.append(CatalogueEntry(name, attention, parameters, config.num_classes, local))
    return lines

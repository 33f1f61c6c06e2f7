"""Weights: bundled ones, torchvision's, safetensors files and the Hub, with their cards."""

from vggviz.weights.adapters import as_written, read_backbone
from vggviz.weights.bundle import (
    CatalogueEntry,
    assets_folder,
    bundled_results,
    bundled_types,
    doubt_threshold,
    list_weights,
)
from vggviz.weights.card import (
    BUNDLED,
    REPLACED,
    WEIGHTS,
    Backbone,
    Card,
    ForeignCard,
    ForeignConfig,
    WeightsError,
)
from vggviz.weights.publish import push_to_hub
from vggviz.weights.stock import STOCK, load_backbone, stock_file
from vggviz.weights.store import load_network, save_network
from vggviz.weights.tensors import fingerprint, read_card, write_safetensors

__all__ = [
    "BUNDLED",
    "REPLACED",
    "STOCK",
    "WEIGHTS",
    "Backbone",
    "Card",
    "CatalogueEntry",
    "ForeignCard",
    "ForeignConfig",
    "WeightsError",
    "as_written",
    "assets_folder",
    "bundled_results",
    "bundled_types",
    "doubt_threshold",
    "fingerprint",
    "list_weights",
    "load_backbone",
    "load_network",
    "push_to_hub",
    "read_backbone",
    "read_card",
    "save_network",
    "stock_file",
    "write_safetensors",
]

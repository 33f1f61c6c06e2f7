"""The catalogue of weights: bundled, torchvision's, untrained, a file, or the Hub; safetensors."""

from vggviz.zoo.adapters import as_written, backbone
from vggviz.zoo.bundle import Listed, assets, bundled, catalogue, measured
from vggviz.zoo.card import WEIGHTS, Backbone, Card, WeightsError
from vggviz.zoo.publish import push
from vggviz.zoo.stock import STOCK, load_backbone, stock_file
from vggviz.zoo.store import load, save
from vggviz.zoo.tensors import fingerprint, read_card, write_safetensors

__all__ = [
    "STOCK",
    "WEIGHTS",
    "Backbone",
    "Card",
    "Listed",
    "WeightsError",
    "as_written",
    "assets",
    "backbone",
    "bundled",
    "catalogue",
    "fingerprint",
    "load",
    "load_backbone",
    "measured",
    "push",
    "read_card",
    "save",
    "stock_file",
    "write_safetensors",
]

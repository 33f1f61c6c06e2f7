"""See what attention does inside an image network: learned attention beside Grad-CAM, measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vggviz.attention import ATTENTION as ATTENTION
    from vggviz.attention import AttentionType as AttentionType
    from vggviz.attention.named import load_attention as load_attention
    from vggviz.cam import METHODS as METHODS
    from vggviz.cam import Method as Method
    from vggviz.explainer import Explainer as Explainer
    from vggviz.explanation import Explanation as Explanation
    from vggviz.hooks import find_attention as find_attention
    from vggviz.images import ImageError as ImageError
    from vggviz.networks import Network as Network
    from vggviz.networks import NetworkConfig as NetworkConfig
    from vggviz.types import AttentionRecord as AttentionRecord
    from vggviz.types import Heatmap as Heatmap
    from vggviz.types import Prediction as Prediction
    from vggviz.weights import WeightsError as WeightsError

__version__ = "0.2.0"

# Where each public name lives: loaded when first used, so that `import vggviz` costs nothing.
_HOMES = {
    "ATTENTION": "attention",
    "METHODS": "cam",
    "AttentionRecord": "types",
    "AttentionType": "attention",
    "Explainer": "explainer",
    "Explanation": "explanation",
    "Heatmap": "types",
    "ImageError": "images",
    "Method": "cam",
    "Network": "networks",
    "NetworkConfig": "networks",
    "Prediction": "types",
    "WeightsError": "weights",
    "find_attention": "hooks",
    "load_attention": "attention.named",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vggviz' has no attribute {name!r}")
    return getattr(import_module(f"vggviz.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]

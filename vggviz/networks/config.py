"""The description of a network: architecture, attention, head, width, classes."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from vggviz.attention import ATTENTION
from vggviz.attention.build import AttentionError

__all__ = ["NetworkConfig"]

CODE = re.compile(r"[\w.-]{1,99}\.py:\w{1,99}")
"""The key of attention from a Python file: see `load_attention`."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The description of a network without its weights. Round-trips through JSON.

    `architecture` is a key of `vggviz.networks.ARCHITECTURES`, such as 'vgg19_bn' or 'resnet50'.
    `attention` is 'none' or a key of `ATTENTION`, placed at `stages`; an empty tuple, the default,
    means all stages of the architecture. `placement` is before or after the stage's pooling (VGG
    only; a ResNet has none there). `blend='residual'` computes x + γ·(f(x) − x) with a learned γ
    that starts at 0, so that pretrained weights keep their logits to the bit; `'replace'` computes
    f(x). `head` is 'fc' (torchvision's classifier) or 'gap' (global average pooling and one linear
    layer). `width` multiplies every convolution's channels, rounded to multiples of 8.

    Raises ValueError, naming the choices, for a value that does not exist, AttentionError for code
    that was not named (see `load_attention`); `networks.resolve` checks architecture and stages.
    """

    attention: str = "none"
    stages: tuple[str, ...] = ()
    placement: Literal["before_pool", "after_pool"] = "before_pool"
    blend: Literal["residual", "replace"] = "residual"
    head: Literal["fc", "gap"] = "fc"
    architecture: str = "vgg19"
    width: float = 1.0
    num_classes: int = 1000

    def __post_init__(self) -> None:
        if CODE.fullmatch(self.attention) and self.attention not in ATTENTION:
            raise AttentionError("attention_code", attention=self.attention)
        check_choice("attention", self.attention, ("none", *ATTENTION))
        check_choice("placement", self.placement, ("before_pool", "after_pool"))
        check_choice("blend", self.blend, ("residual", "replace"))
        check_choice("head", self.head, ("fc", "gap"))
        if isinstance(self.stages, str):
            raise ValueError(f"stages must be a tuple such as ('block5',), not {self.stages!r}")
        if type(self.width) not in (int, float) or not 0 < self.width <= 4:
            raise ValueError(f"width must lie in (0, 4], not {self.width!r}")
        if type(self.num_classes) is not int or self.num_classes < 1:  # True is an int, too
            raise ValueError(f"num_classes must be at least 1, not {self.num_classes!r}")

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON types; `from_json` gives it back."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> NetworkConfig:
        """The configuration that `to_json` wrote, now or in version 0.1 (`sites`, `batch_norm`).

        Raises ValueError for unknown keys.
        """
        data = dict(data)
        if "sites" in data:
            data["stages"] = data.pop("sites")
        if "batch_norm" in data:  # version 0.1 knew VGG19 only
            batch_norm = data.pop("batch_norm")
            if type(batch_norm) is not bool:
                raise ValueError(f"batch_norm must be true or false, not {batch_norm!r}")
            data["architecture"] = "vgg19_bn" if batch_norm else "vgg19"
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown keys in a network's configuration: {sorted(unknown)}")
        return cls(**{**data, "stages": tuple(data.get("stages", ()))})

    def scaled(self, channels: int) -> int:
        """A layer's channels at this `width`: to the nearest multiple of 8, at least 8."""
        return max(8, round(channels * self.width / 8) * 8)


def check_choice(what: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ValueError, with the `known` values, where `value` is none of them."""
    if value not in known:
        raise ValueError(f"no {what} {value!r}: choose one of {', '.join(known)}")

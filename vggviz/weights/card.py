"""The names of weights, their card, and the backbone of an adapter."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeAlias

from typing_extensions import TypeVar

from vggviz.attention import ATTENTION
from vggviz.images import Preprocess
from vggviz.networks import TORCHVISION, NetworkConfig
from vggviz.texts import UNSEEN, is_blank
from vggviz.types import Error, InputError, matching

__all__ = [
    "BUNDLED",
    "REPLACED",
    "STOCK",
    "WEIGHTS",
    "Backbone",
    "Card",
    "ForeignCard",
    "ForeignConfig",
    "WeightsError",
    "checked_labels",
]

BUNDLED = "everyday"
"""The weights that come with the package."""
REPLACED = {"tiny50": BUNDLED}
"""The weights that came with versions before 0.2, and those that took their place."""
STOCK = {"imagenet": "vgg19", "imagenet_bn": "vgg19_bn"}
STOCK |= {f"imagenet-{name}": name for name in TORCHVISION if name not in STOCK.values()}
STOCK |= {"lite": "efficientnet_lite0"}
"""The architectures of ImageNet weights by the weights' names: torchvision's, and 'lite'."""
WEIGHTS = {
    BUNDLED: "VGG19-BN at half width, 84 everyday classes; bundled",
    **{
        name: f"torchvision's {architecture}, 1,000 ImageNet classes; downloaded once"
        for name, architecture in STOCK.items()
    },
    "lite": "EfficientNet-Lite0, 1,000 ImageNet classes; of the extra 'lite'",
    "random": "VGG19 at full size, untrained",
}
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
TRAINED = ("all", "backbone", "nothing")
LABEL = 200  # characters: folders, from which labels come, have at most 255 bytes
NAME = 255  # bytes: no file system takes longer names
BARE = re.compile(r"[^/\\:\0]+\.safetensors")


class WeightsError(Error, ValueError):
    """Weights that cannot be loaded; the message is one sentence for users."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """The weights whose tensors complete an adapter: their name, and the SHA-256 of their file.

    `weights` is 'everyday' with an `attention`, a key of `STOCK` (with attention 'none'), or the
    bare name of a .safetensors file beside the adapter, which must not be an adapter itself.

    Raises WeightsError for a key of `REPLACED`, ValueError for anything else: a path, 'random', a
    malformed fingerprint.
    """

    weights: str
    attention: str
    fingerprint: str

    def __post_init__(self) -> None:
        if self.weights in REPLACED:
            by = REPLACED[self.weights]
            raise WeightsError("replaced_backbone", backbone=self.weights, by=by)
        if self.weights not in WEIGHTS and not _is_bare_name(self.weights):
            known = ", ".join(name for name in WEIGHTS if name != "random")
            raise ValueError(
                f"a backbone is one of {known} or the bare name of a .safetensors file, not "
                f"{self.weights!r}"
            )
        if self.weights == "random":
            raise ValueError("random weights are no backbone: they differ from draw to draw")
        if self.attention not in ("none", *ATTENTION):
            raise ValueError(f"no attention {self.attention!r} in a backbone")
        if self.weights in STOCK and self.attention != "none":
            raise ValueError(f"{self.weights} has no trained attention: a backbone's is 'none'")
        if not FINGERPRINT.fullmatch(self.fingerprint):
            raise ValueError(f"a fingerprint is 64 hexadecimal digits, not {self.fingerprint!r}")

    @property
    def is_file(self) -> bool:
        """Whether it is a file beside the adapter, and not weights by name."""
        return self.weights not in WEIGHTS

    def __str__(self) -> str:
        return self.weights if self.attention == "none" else f"{self.weights} ({self.attention})"


@dataclass(frozen=True, slots=True)
class ForeignConfig:
    """A network that vggviz did not build: its name, the kinds of attention found in it ('channel,
    spatial', or 'none'), its number of classes, and whether each is judged by itself."""

    network: str
    attention: str
    num_classes: int
    multi_label: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


Config = TypeVar("Config", NetworkConfig, ForeignConfig, default=NetworkConfig)


@dataclass(frozen=True, slots=True)
class Card(Generic[Config]):
    """The description of weights: their network, preprocessing and classes.

    `trained` is 'all', 'backbone' (attention is fresh; a residual one has γ = 0) or 'nothing'.
    `facts` are data, recipe, accuracy and licence. `fingerprint` is the SHA-256 of the file, '' for
    none. With a `backbone` the file is an adapter: it holds only the tensors that differ from it.
    """

    weights: str
    config: Config
    preprocess: Preprocess
    labels: tuple[str, ...]
    wnids: tuple[str, ...] = ()
    trained: str = "all"
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fingerprint: str = ""
    backbone: Backbone | None = None

    @property
    def unmeasured(self) -> bool:
        """Whether attention was taught without labels on weights on which vggviz's authors measured
        nothing of the kind: torchvision's, and networks that vggviz did not build."""
        under = None if self.backbone is None else self.backbone.weights
        foreign = isinstance(self.config, ForeignConfig)
        return "agreement" in self.facts and (foreign or (under in STOCK and under != "lite"))

    @property
    def multi_label(self) -> bool:
        """Whether a picture can have several labels: probabilities are sigmoids then."""
        return isinstance(self.config, ForeignConfig) and self.config.multi_label

    def index(self, target: int | str) -> int:
        """The class index of an index, a label or a WordNet id; a text of digits that is a label is
        that label. Exact names come first, ids before labels; case counts only where it tells
        labels apart, as 'Cardigan', a dog, and 'cardigan'. Of equal labels the first is meant.

        Raises ValueError, with what comes closest, where there is no such class.
        """
        if not isinstance(target, int | str):
            raise InputError("no_class_type", target=target)
        if isinstance(target, str):
            matches = matching(target, (*self.wnids, *self.labels))
            if matches:
                return matches[0] - (len(self.wnids) if matches[0] >= len(self.wnids) else 0)
            if not re.fullmatch(r"-?\d{1,18}", target):
                lowered = [label.lower() for label in self.labels]
                close = difflib.get_close_matches(target.lower(), lowered, 3, 0.5)
                code = "no_class_but" if close else "no_class"
                raise InputError(code, target=target, nearest=tuple(close))
            target = int(target)
        if not 0 <= target < len(self.labels):
            raise InputError("no_class_index", target=target, last=len(self.labels) - 1)
        return target

    def to_json(self) -> dict[str, Any]:
        """The card as JSON types."""
        return {
            "weights": self.weights,
            "config": self.config.to_json(),
            "preprocess": self.preprocess.to_json(),
            "labels": list(self.labels),
            "wnids": list(self.wnids),
            "trained": self.trained,
            "facts": dict(self.facts),
            "backbone": None if self.backbone is None else asdict(self.backbone),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Card[NetworkConfig]:
        """The card that `to_json` wrote, which has no fingerprint: a file can't hold its own.

        Raises ValueError, KeyError or TypeError for an invalid description.
        """
        backbone = data.get("backbone")
        card = Card(
            weights=_texts([data["weights"]], "a name")[0],
            config=NetworkConfig.from_json(data["config"]),
            preprocess=Preprocess.from_json(data["preprocess"]),
            labels=checked_labels(data["labels"]),
            wnids=_texts(data["wnids"], "a WordNet id"),
            trained=data["trained"],
            facts=dict(data["facts"]),
            backbone=None if backbone is None else Backbone(**backbone),
        )
        if len(card.labels) != card.config.num_classes:
            raise ValueError(f"{len(card.labels)} labels for {card.config.num_classes} classes")
        if card.wnids and len(card.wnids) != len(card.labels):
            raise ValueError(f"{len(card.wnids)} WordNet ids for {len(card.labels)} classes")
        if card.trained not in TRAINED:
            raise ValueError(f"trained is one of {', '.join(TRAINED)}, not {card.trained!r}")
        return card


ForeignCard: TypeAlias = Card[ForeignConfig]


def checked_labels(data: Any) -> tuple[str, ...]:
    """A tuple of labels. Raises ValueError for a list with an empty or invisible label, one with
    control characters, or one of more than `LABEL` characters."""
    labels = _texts(data, "a label")
    if any(map(is_blank, labels)):
        blank = next(filter(is_blank, labels))
        raise ValueError(f"a label needs a character that can be seen, unlike {blank!a}")
    return labels


def _is_bare_name(text: str) -> bool:
    valid = BARE.fullmatch(text) and not UNSEEN.search(text)
    return bool(valid) and len(text.encode()) <= NAME


def _texts(data: Any, what: str) -> tuple[str, ...]:
    """A tuple of printable strings of at most `LABEL` characters. Raises ValueError otherwise."""
    if not isinstance(data, list):
        raise ValueError(f"expected a list, each {what}, not {data!r}")
    for text in data:
        if not isinstance(text, str) or len(text) > LABEL or UNSEEN.search(text):
            raise ValueError(
                f"{what} is at most {LABEL} characters without control characters, not {text!r}"
            )
    return tuple(data)

"""What belongs to weights beside the tensors: their names, their card, what they stand on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vggviz.attention import ATTENTION
from vggviz.images import Preprocess
from vggviz.networks import NetworkConfig
from vggviz.texts import UNSEEN, is_blank
from vggviz.types import Error, InputError, matching

__all__ = ["WEIGHTS", "Backbone", "Card", "WeightsError"]

WEIGHTS = {
    "tiny50": "VGG19-BN at half width, 50 everyday classes of Tiny ImageNet; bundled",
    "imagenet": "torchvision's VGG19, 1,000 ImageNet classes; 548 MB, downloaded once",
    "imagenet_bn": "torchvision's VGG19 with batch norm, 1,000 ImageNet classes; 548 MB",
    "random": "VGG19 at full size, untrained",
}
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
TRAINED = ("all", "backbone", "nothing")
LABEL = 200  # characters: folders, from which labels come, have at most 255 bytes
NAME = 255  # bytes: no file system takes longer names
BARE = re.compile(r"[^/\\:\0]+\.safetensors")


class WeightsError(Error, ValueError):
    """Weights that cannot be had; the message is one sentence for people."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """The weights that an adapter stands on: by name, and by the SHA-256 of their file.

    `weights` is 'tiny50' with an `attention`, 'imagenet' or 'imagenet_bn' (torchvision's, so with
    attention 'none'), or the bare name of a .safetensors file that lies beside the adapter.

    Raises ValueError for anything else: a path, 'random', what is no fingerprint.
    """

    weights: str
    attention: str
    fingerprint: str

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS and not _is_file_name(self.weights):
            raise ValueError(
                f"a backbone is one of tiny50, imagenet, imagenet_bn or the bare name of a "
                f".safetensors file, not {self.weights!r}"
            )
        if self.weights == "random":
            raise ValueError("random weights are no backbone: they differ from draw to draw")
        if self.attention not in ("none", *ATTENTION):
            raise ValueError(f"no attention {self.attention!r} in a backbone")
        if self.weights.startswith("imagenet") and self.attention != "none" and not self.is_file:
            raise ValueError(f"{self.weights} has no trained attention: a backbone's is 'none'")
        if not FINGERPRINT.fullmatch(self.fingerprint):
            raise ValueError(f"a fingerprint is 64 hexadecimal digits, not {self.fingerprint!r}")

    @property
    def is_file(self) -> bool:
        """Whether it is a file of one's own, beside the adapter."""
        return self.weights not in WEIGHTS

    def __str__(self) -> str:
        return self.weights if self.attention == "none" else f"{self.weights} ({self.attention})"


@dataclass(frozen=True, slots=True)
class Card:
    """What belongs to weights: the network they fit, how pictures go in, what classes come out.

    `trained` is what has learned: 'all', 'backbone' (attention is fresh, and where it is blended
    in, its γ is 0) or 'nothing'. `facts` is the model card: data, recipe, accuracy, licence.
    `fingerprint` is the SHA-256 of the file, '' where there is none. With a `backbone` the file is
    an adapter: it holds only what differs from it.
    """

    weights: str
    config: NetworkConfig
    preprocess: Preprocess
    labels: tuple[str, ...]
    wnids: tuple[str, ...] = ()
    trained: str = "all"
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fingerprint: str = ""
    backbone: Backbone | None = None

    def index(self, target: int | str) -> int:
        """The class index of an index, a label or a WordNet id; a text of digits that is a label is
        that label. Exact names come first, ids before labels: upper and lower case count only where
        they tell labels apart, as 'Cardigan', a dog, and 'cardigan'; of equal labels the first is
        meant.

        Raises ValueError, with what comes closest, where there is no such class.
        """
        if not isinstance(target, int | str):
            raise InputError("no_class_type", target=target)
        if isinstance(target, str):
            found = matching(target, (*self.wnids, *self.labels))
            if found:
                return found[0] - (len(self.wnids) if found[0] >= len(self.wnids) else 0)
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
    def from_json(cls, data: Mapping[str, Any]) -> Card:
        """The card that `to_json` wrote, which has no fingerprint: a file can't hold its own.

        Raises ValueError, KeyError or TypeError if it lies.
        """
        backbone = data.get("backbone")
        card = cls(
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


def checked_labels(given: Any) -> tuple[str, ...]:
    """Labels as people can read them. Raises ValueError for a list that holds anything else: empty
    ones, invisible ones, control characters."""
    labels = _texts(given, "a label")
    if any(map(is_blank, labels)):
        blank = next(filter(is_blank, labels))
        raise ValueError(f"a label needs a character that can be seen, unlike {blank!a}")
    return labels


def _is_file_name(text: str) -> bool:
    shown = BARE.fullmatch(text) and not UNSEEN.search(text)
    return bool(shown) and len(text.encode()) <= NAME


def _texts(given: Any, what: str) -> tuple[str, ...]:
    """A list of texts that can be shown as they are. Raises ValueError for anything else."""
    if not isinstance(given, list):
        raise ValueError(f"expected a list, each {what}, not {given!r}")
    for text in given:
        if not isinstance(text, str) or len(text) > LABEL or UNSEEN.search(text):
            raise ValueError(
                f"{what} is at most {LABEL} characters without control characters, not {text!r}"
            )
    return tuple(given)

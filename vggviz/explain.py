"""A picture in, an explained prediction out: the one facade that everything above uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import vggviz
from vggviz import fast, zoo
from vggviz.cam import METHODS, CAMs, cams
from vggviz.explanation import Explanation
from vggviz.images import Crop, ImageSource, Preprocess, open_image
from vggviz.types import AttentionRecord, Heatmap, Prediction, Ranked
from vggviz.vgg import SITES, VGG

__all__ = ["Explainer", "Report"]

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a question wants to see, but its pictures and classes."""

    paths: Mapping[str, str]  # module paths by the names that were asked for
    methods: Sequence[str]
    precision: str
    watched: Mapping[str, str]


class Explainer:
    """A network with its weights, ready to explain pictures. It is safe to share between threads.

    `model` is the network, in evaluation mode and frozen; `card` says which weights they are;
    `preprocess` takes a picture to (1, 3, S, S), normalised; `labels` and `wnids` name the
    classes (`wnids`, WordNet ids, may be empty).

    `precision` is a key of `fast.PRECISIONS`: 'exact', 'gradients' (prediction and attention stay
    exact to the bit) or 'bf16' (about half the time, maps of low blocks only roughly; see `fast`).
    Raises ValueError for another.
    """

    def __init__(
        self,
        model: VGG,
        card: zoo.Card,
        *,
        precision: str = "exact",
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.precision = fast.known(precision)
        # Channels last is the faster layout for convolutions on CPUs and GPUs alike.
        frozen = model.eval().requires_grad_(False).to(self.device)
        frozen = frozen.to(memory_format=torch.channels_last)
        self.model = fast.whole(frozen) if self.precision == "bf16" else frozen
        self._dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self.card = card
        self.preprocess: Preprocess = card.preprocess
        self.labels = card.labels
        self.wnids = card.wnids

    @classmethod
    def load(
        cls,
        weights: str | Path = "tiny50",
        attention: str | None = None,
        *,
        precision: str = "exact",
        device: str | torch.device = "cpu",
        **changes: Any,
    ) -> Explainer:
        """An explainer for weights by name ('tiny50', 'imagenet', 'random'), a .safetensors file,
        or a file on the Hugging Face Hub ('hf:user/repo', 'hf:user/repo@revision').

        `attention` is 'none' or a key of `ATTENTION`; by default 'cbam' for weights by name, and
        what the file holds for a file. `changes` (sites, blend, placement) are for weights whose
        attention is untrained: see `zoo.load`.

        Raises WeightsError where the weights cannot be had, ValueError for an unknown attention
        or one that is not the file's, and for an unknown precision.
        """
        fast.known(precision)  # a wrong word is said before a long load
        named = str(weights) in zoo.WEIGHTS
        chosen = attention or ("cbam" if named else "none")
        model, card = zoo.load(weights, chosen, **changes)
        if not named and attention is not None and attention != card.config.attention:
            raise ValueError(f"{weights} holds {card.config.attention!r}, not {attention!r}")
        return cls(model, card, precision=precision, device=device)

    def explain(
        self,
        image: ImageSource,
        sites: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        target: int | str | None = None,
        *,
        exact: bool = False,
        progress: Report = lambda done, total: None,
    ) -> Explanation:
        """Prediction, attention and CAMs of one picture: one forward, one partial backward pass.

        `sites` is 'all' for block1 to block5, or names: sites, layers ('conv5_4', 'pool5') or
        module paths. `methods` are keys of `METHODS`. `target` is a class index, a label or a
        WordNet id, by default the likeliest class. `exact` asks for float32
        throughout, whatever the explainer's precision. `progress` follows Score-CAM.

        Raises ImageError for a picture that cannot be used, WeightsError where numbers overflow,
        ValueError for an unknown site, method or class, and for `exact` with bfloat16 weights.
        """
        more: dict[str, Any] = {"exact": exact, "progress": progress}
        return self.explain_each(image, (target,), sites, methods, **more)[0]

    def explain_each(
        self,
        image: ImageSource,
        targets: Sequence[int | str | None],
        sites: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        exact: bool = False,
        watch: Sequence[str] = (),
        progress: Report = lambda done, total: None,
    ) -> list[Explanation]:
        """One explanation for each of several classes of one picture, from one forward pass.

        They share the picture, the prediction and the attention, which know no class. `watch` are
        layers or module paths whose outputs are to be kept as `features`. Other arguments and
        errors as for `explain`.
        """
        opened = open_image(image)
        crop, where = self.preprocess.crop(opened)
        more: dict[str, Any] = {"exact": exact, "watch": watch, "progress": progress}
        more["stretched"] = opened.info.get("range")
        return self.explain_crop(np.asarray(crop), where, targets, sites, methods, **more)

    def explain_crop(
        self,
        crop: npt.NDArray[np.uint8],
        where: Crop,
        targets: Sequence[int | str | None] = (None,),
        sites: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        exact: bool = False,
        watch: Sequence[str] = (),
        stretched: tuple[float, float] | None = None,
        progress: Report = lambda done, total: None,
    ) -> list[Explanation]:
        """As `explain_each`, for the very square that a network saw before.

        `crop` is `Explanation.image`, uint8 RGB (S, S, 3), and `where` its `Explanation.crop`.
        `stretched` is what the provenance says of a deep picture: which of its samples became 0
        and 255.
        Without `methods` there is no backward pass.
        """
        asked = self._asked(sites, methods, exact, watch)
        classes = [None if target is None else self.index(target) for target in targets]
        pixels = self.preprocess.normalise(crop)[None].to(self.device, self._dtype)
        result = self._maps(asked, pixels, self._fill(classes, pixels), progress)
        return self._told(crop, where, result, asked, stretched)

    def explain_batch(
        self,
        images: Sequence[ImageSource],
        targets: Sequence[int | str | None],
        sites: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        exact: bool = False,
        watch: Sequence[str] = (),
    ) -> list[Explanation]:
        """One explanation for each of several pictures, one class each, in the same two passes.

        The likeliest class is asked for all pictures or for none. Other arguments and errors as
        for `explain`, and ValueError where some targets are None or missing.
        """
        asked = self._asked(sites, methods, exact, watch)
        classes = [self.index(target) for target in targets if target is not None]
        if len(targets) != len(images) or (classes and len(classes) < len(targets)):
            raise ValueError("a batch has a target for each of its pictures, or for none")
        opened = [open_image(image) for image in images]
        crops = [self.preprocess.crop(image) for image in opened]
        pixels = torch.stack([self.preprocess.normalise(crop) for crop, _ in crops])  # (B, 3, S, S)
        pixels = pixels.to(self.device, self._dtype)
        indices = torch.tensor([classes], device=self.device) if classes else None  # (1, B)
        result = self._maps(asked, pixels, indices)
        return [
            self._told(np.asarray(crop), where, result.of(row), asked, image.info.get("range"))[0]
            for row, ((crop, where), image) in enumerate(zip(crops, opened, strict=True))
        ]

    def names(self, sites: str | Sequence[str]) -> tuple[str, ...]:
        """The places that `sites` means, each once. Raises ValueError for one that is none."""
        if isinstance(sites, str):
            sites = SITES if sites == "all" else sites.split(",")
        for name in sites:
            self.model.path(name)
        return tuple(dict.fromkeys(sites))

    def _asked(
        self, sites: str | Sequence[str], methods: Sequence[str], exact: bool, watch: Sequence[str]
    ) -> _Asked:
        if exact and self.precision == "bf16":
            raise ValueError("these weights are in bfloat16: load them with precision='exact'")
        paths = {name: self.model.path(name) for name in self.names(sites)}
        watched = {name: self.model.path(name) for name in watch}
        return _Asked(paths, methods, "exact" if exact else self.precision, watched)

    def _maps(
        self,
        asked: _Asked,
        pixels: Tensor,
        indices: Tensor | None,
        progress: Report = lambda done, total: None,
    ) -> CAMs:
        layers = list(asked.paths.values())
        more: dict[str, Any] = {"watch": list(asked.watched.values()), "progress": progress}
        with fast.gradients_of(asked.precision):
            return cams(self.model, pixels, layers, asked.methods, indices, **more)

    def _told(
        self,
        crop: npt.NDArray[np.uint8],
        where: Crop,
        result: CAMs,
        asked: _Asked,
        stretched: tuple[float, float] | None,
    ) -> list[Explanation]:
        """The result of one picture, as one explanation a target."""
        _finite(*result.maps.values())
        prediction = self.prediction(result.logits[0])
        features = {
            name: result.outputs[path][0].float().cpu() for name, path in asked.watched.items()
        }
        attention = {name: _records(name, path, result) for name, path in asked.paths.items()}
        by_index = {ranked.index: ranked for ranked in prediction.ranked}
        picture = {
            "stretched": list(stretched) if stretched else None,
            "one_colour": bool((crop == crop[0, 0]).all()),  # then there is nothing to explain
        }
        explained: list[Explanation] = []
        for row, target in enumerate(result.targets[:, 0].tolist()):
            heatmaps = {
                (name, method): _heatmap(result.maps[path, method][row, 0], method, name, target)
                for name, path in asked.paths.items()
                for method in asked.methods
                if (path, method) in result.maps
            }
            explained.append(
                Explanation(
                    image=crop,
                    crop=where,
                    prediction=prediction,
                    target=by_index[target],
                    attention={name: records for name, records in attention.items() if records},
                    heatmaps=heatmaps,
                    provenance=self._provenance(where, asked.precision) | {"picture": picture},
                    features=features,
                )
            )
        return explained

    def index(self, target: int | str) -> int:
        """The class index of an index, a label or a WordNet id: see `Card.index`."""
        return self.card.index(target)

    def _fill(self, classes: Sequence[int | None], pixels: Tensor) -> Tensor | None:
        """(T,) class indices, None standing for the likeliest class."""
        if all(index is None for index in classes):
            return None if len(classes) == 1 else self._likeliest(pixels).expand(len(classes))
        if any(index is None for index in classes):
            likeliest = int(self._likeliest(pixels))
            classes = [likeliest if index is None else index for index in classes]
        return torch.tensor(classes, device=self.device)

    @torch.no_grad()
    def _likeliest(self, pixels: Tensor) -> Tensor:
        return self.model(pixels).argmax(1)

    def prediction(self, logits: Tensor) -> Prediction:
        """What logits (K,) say of the classes, the likeliest first. Raises WeightsError where they
        are no numbers."""
        _finite(logits)
        probabilities = logits.double().softmax(0)
        order = probabilities.argsort(descending=True, stable=True).tolist()
        ranked = tuple(
            Ranked(index, self.labels[index], float(probabilities[index])) for index in order
        )
        return Prediction(logits.float().cpu(), ranked)

    def _provenance(self, where: Crop, precision: str) -> dict[str, Any]:
        return {
            "weights": self.card.weights,
            "trained": self.card.trained,
            "fingerprint": self.card.fingerprint,
            "config": self.card.config.to_json(),
            "gamma": self.model.gammas(),
            "precision": precision,
            "preprocess": self.preprocess.to_json(),
            "crop": asdict(where),
            "versions": {
                "vggviz": vggviz.__version__,
                "torch": str(torch.__version__),
                "torchvision": _torchvision(),
            },
        }


def _finite(*found: Tensor) -> None:
    if not all(tensor.isfinite().all() for tensor in found):
        raise zoo.WeightsError("what the network says is no number: its weights are broken")


@cache
def _torchvision() -> str:
    """Its version, without the second that importing it takes; it is read from a file, once."""
    return version("torchvision")


def _records(site: str, path: str, result: CAMs) -> tuple[AttentionRecord, ...]:
    return tuple(
        AttentionRecord(
            site,
            reading.kind,
            reading.weights[0].detach().float().cpu(),
            reading.grid,
            reading.keys,
        )
        for tap, reading in result.taps.items()
        if tap.startswith(f"{path}.")
    )


def _heatmap(raw: Tensor, method: str, site: str, target: int) -> Heatmap:
    """values = (raw − low) / (high − low), zeros where the map is flat."""
    raw = raw.float().cpu()
    low, high = float(raw.min()), float(raw.max())
    values = (raw - low) / (high - low) if high > low else torch.zeros_like(raw)
    return Heatmap(values, method, site, target if METHODS[method].knows_class else None, low, high)

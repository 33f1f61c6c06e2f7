"""Explanations of pictures by a network with its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vggviz.cam import CAMs, MapError, Targets, cams, heatmap, prediction
from vggviz.explanation import Explanation
from vggviz.export import Exporter
from vggviz.images import Crop, ImageSource, Preprocess, open_image
from vggviz.networks import ForeignNetwork, Network, is_network_name
from vggviz.platform import precision as fast
from vggviz.platform.device import choose_device
from vggviz.platform.machine import library_versions
from vggviz.types import Prediction
from vggviz.weights import BUNDLED, WEIGHTS, Card, WeightsError, load_network, network_card

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from vggviz.widget import ExplanationWidget

__all__ = ["Explainer", "MapError", "Options", "Report"]

Report = Callable[[int, int], None]


class Options(TypedDict, total=False):
    """`watch` are layers or module paths whose outputs become `Explanation.features`; `progress` is
    called with how many of Score-CAM's passes are done, and their number."""

    watch: Sequence[str]
    progress: Report


@dataclass(frozen=True, slots=True)
class _Request:
    """What to compute, all names resolved to module paths."""

    paths: Mapping[str, str]
    methods: Sequence[str]
    watched: Mapping[str, str]
    progress: Report


class Explainer(Exporter):
    """A network with its weights, ready to explain pictures. It is safe to share between threads.

    `model` is a copy of the network, in evaluation mode, frozen, in float32 and channels last; the
    original stays as it is. Without `copy` the original itself is changed so. `card` describes the
    weights; `preprocess` maps a picture to (1, 3, S, S), normalised; `labels` name the classes.

    `precision` is 'exact' or 'bf16' (faster where the CPU has bfloat16, maps of low blocks only
    roughly; see `fast`), `device` as for `choose_device`. Raises ValueError for others.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: Network,
        card: Card[Any],
        *,
        precision: str = "exact",
        device: str | torch.device = "cpu",
        copy: bool = True,
    ) -> None:
        self.device = choose_device(device)
        self.precision = fast.check_precision(precision)
        self._dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        if self.precision == "bf16":
            model = fast.to_bfloat16(model)  # a copy
        elif copy:
            model = deepcopy(model)
        self.model = model.eval().requires_grad_(False).to(self.device, self._dtype)
        if not isinstance(model, ForeignNetwork):  # whose code may rely on the usual layout
            # Channels last is the faster layout for convolutions on CPUs and GPUs alike.
            self.model.to(memory_format=torch.channels_last)
        self.card = card
        self.preprocess: Preprocess = card.preprocess
        self.labels = card.labels

    @classmethod
    @torch.inference_mode(False)
    def load(
        cls,
        weights: str | Path = BUNDLED,
        attention: str | None = None,
        *,
        precision: str = "exact",
        device: str | torch.device = "cpu",
        **changes: Any,
    ) -> Explainer:
        """An explainer for weights by name ('everyday', 'imagenet', 'random'), a .safetensors file,
        or 'hf:user/repo' on the Hugging Face Hub, with an attention: 'none' or a key of
        `ATTENTION`, by default 'cbam' for weights by name and what a file holds. `changes` are then
        those of `load_network`. Or for a network by name ('timm:seresnet50', 'mynet.py:build',
        'torchvision:vit_b_16'), which brings its own attention; `changes` are then those of
        `load_foreign`: `pretrained`, `checkpoint`, `adapter`, `labels`, `size` and others.

        Raises WeightsError or NetworkError where they cannot be had, ValueError for an unknown
        precision, device or attention, or one that is not the file's.
        """
        fast.check_precision(precision)  # before a long load
        device = choose_device(device)
        if is_network_name(str(weights)):
            if attention is not None:
                raise ValueError(f"{weights} brings its own attention")
            parts = network_card.load_foreign(str(weights), **changes)
            return cls(*parts, precision=precision, device=device, copy=False)
        named = str(weights) in WEIGHTS
        chosen = attention or ("cbam" if named else "none")
        model, card = load_network(weights, chosen, **changes)
        if not named and attention is not None and attention != card.config.attention:
            raise ValueError(f"{weights} holds {card.config.attention!r}, not {attention!r}")
        return cls(model, card, precision=precision, device=device, copy=False)

    @classmethod
    @torch.inference_mode(False)
    def of(
        cls,
        model: nn.Module,
        *,
        labels: Sequence[str] | None = None,
        size: int = 224,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        output: int | str | None = None,
        multi_label: bool = False,
        device: str | torch.device = "cpu",
    ) -> Explainer:
        """An explainer for any classifier that takes normalised pictures (B, 3, S, S) or
        (B, 1, S, S): for a copy of it in float32, so that the model stays as it is.

        `labels`, `output` and `multi_label` as for `foreign_network`; `mean` and `std`, by default
        ImageNet's, are one number or one a channel. Raises NetworkError for what is no such
        classifier, ValueError for settings that make no sense.
        """
        device = choose_device(device)
        preprocess = network_card.network_preprocess(size, mean, std)
        parts = network_card.foreign_network(
            model, preprocess, copy=True, labels=labels, output=output, multi_label=multi_label
        )
        return cls(*parts, device=device, copy=False)

    def explain(
        self,
        image: ImageSource,
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        target: int | str | None = None,
        **options: Unpack[Options],
    ) -> Explanation:
        """Prediction, attention and CAMs of one picture: one forward, one partial backward pass.

        `image` is what `open_image` takes: a path, bytes, a file, a Pillow image or a uint8 array
        (H, W, 3), whose channels are RGB. `stages` is 'all' for the network's stages, or names:
        stages, layers ('conv5_4', 'pool5') or module paths. `methods` are keys of `METHODS`;
        without any there is no backward pass. `target` is a class index, a label or a WordNet id,
        by default the predicted class. `options` are as in `Options`.

        Raises ImageError for a picture that cannot be used, WeightsError where the logits are no
        numbers, MapError where only a map overflows, ValueError for an unknown stage, method or
        class.
        """
        return self.explain_each(image, (target,), stages, methods, **options)[0]

    def explain_each(
        self,
        image: ImageSource,
        targets: Sequence[int | str | None],
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        **options: Unpack[Options],
    ) -> list[Explanation]:
        """One explanation for each of several classes of one picture, from one forward pass.

        They share the picture, the prediction and the attention, which know no class. Errors as for
        `explain`.
        """
        opened = open_image(image)
        crop, where = self.preprocess.crop(opened)
        pixels, stretched = np.asarray(crop), opened.info.get("range")
        return self.explain_crop(
            pixels, where, targets, stages, methods, stretched=stretched, **options
        )

    @torch.inference_mode(False)
    def explain_crop(
        self,
        crop: npt.NDArray[np.uint8],
        where: Crop,
        targets: Sequence[int | str | None] = (None,),
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        stretched: tuple[float, float] | None = None,
        **options: Unpack[Options],
    ) -> list[Explanation]:
        """As `explain_each`, for the very square that a network saw before.

        `crop` is `Explanation.image`, uint8 RGB (S, S, 3), and `where` its `Explanation.crop`.
        `stretched` are the samples of a deep picture that became 0 and 255, for the provenance.
        """
        request = self._request(stages, methods, **options)
        classes = [None if target is None else self.index(target) for target in targets]
        result = self._cams(self.preprocess.normalise(crop)[None], request, classes)
        return self._explanations(crop, where, result, request, stretched)

    @torch.inference_mode(False)
    def explain_batch(
        self,
        images: Sequence[ImageSource],
        targets: Sequence[int | str | None],
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        **options: Unpack[Options],
    ) -> list[Explanation]:
        """One explanation for each of several pictures, one class each, in the same two passes.

        Errors as for `explain`, and ValueError where there is not a target for each picture: all
        None, for the predicted classes, or none of them.
        """
        request = self._request(stages, methods, **options)
        classes = [self.index(target) for target in targets if target is not None]
        if len(targets) != len(images) or (classes and len(classes) < len(targets)):
            raise ValueError("a batch has a target for each of its pictures, or for none")
        opened = [open_image(image) for image in images]
        crops = [self.preprocess.crop(image) for image in opened]
        pixels = torch.stack([self.preprocess.normalise(crop) for crop, _ in crops])  # (B, 3, S, S)
        result = self._cams(pixels, request, [classes] if classes else None)
        explanations: list[Explanation] = []
        for row, ((crop, where), image) in enumerate(zip(crops, opened, strict=True)):
            one, stretched = result.of(row), image.info.get("range")
            explanations += self._explanations(np.asarray(crop), where, one, request, stretched)
        return explanations

    def widget(self, image: ImageSource, lang: str = "en") -> ExplanationWidget:
        """The picture in a notebook, with controls. Needs the extra 'notebook'."""
        from vggviz.widget import ExplanationWidget

        return ExplanationWidget(self, image, lang)

    def names(self, stages: str | Sequence[str]) -> tuple[str, ...]:
        """The names of stages, layers or modules in `stages`, each once; 'all' are the network's
        stages. Raises ValueError for an unknown name."""
        if stages == "all":
            stages = self.model.stages
        elif isinstance(stages, str):
            stages = [name.strip() for name in stages.split(",")]
        for name in stages:
            self.model.path(name)
        return tuple(dict.fromkeys(stages))

    def _request(
        self,
        stages: str | Sequence[str],
        methods: Sequence[str],
        watch: Sequence[str] = (),
        progress: Report = lambda done, total: None,
    ) -> _Request:
        paths = {name: self.model.path(name) for name in self.names(stages)}
        watched = {name: self.model.path(name) for name in watch}
        return _Request(paths, methods, watched, progress)

    def _cams(self, pixels: Tensor, request: _Request, targets: Targets) -> CAMs:
        return cams(
            self.model,
            pixels.to(self.device, self._dtype),
            list(request.paths.values()),
            request.methods,
            targets,
            watch=list(request.watched.values()),
            progress=request.progress,
        )

    def _explanations(
        self,
        crop: npt.NDArray[np.uint8],
        where: Crop,
        result: CAMs,
        request: _Request,
        stretched: tuple[float, float] | None,
    ) -> list[Explanation]:
        """One explanation for each target of `result`, which is of one picture."""
        prediction = self.prediction(result.logits[0])
        for (name, path), method in product(request.paths.items(), request.methods):
            if (path, method) in result.maps and not result.maps[path, method].isfinite().all():
                raise MapError("map_overflows", method=method, stage=name, dtype=self._dtype)
        features = {
            name: result.outputs[path][0].float().cpu() for name, path in request.watched.items()
        }
        paths = dict(sorted(request.paths.items(), key=lambda item: result.order.index(item[1])))
        attention = {name: result.records(name, path) for name, path in paths.items()}
        of = result.contributions
        by_index = {ranked.index: ranked for ranked in prediction.ranked}
        one_colour = bool((crop == crop[0, 0]).all())  # then there is nothing to explain
        picture = {"stretched": list(stretched) if stretched else None, "one_colour": one_colour}
        return [
            Explanation(
                image=crop,
                crop=where,
                prediction=prediction,
                target=by_index[target],
                attention={name: records for name, records in attention.items() if records},
                heatmaps={
                    (name, method): heatmap(result.maps[path, method][row, 0], method, name, target)
                    for name, path in paths.items()
                    for method in request.methods
                    if (path, method) in result.maps
                },
                provenance=self._provenance(where) | {"picture": picture},
                features=features,
                contributions={n: of[p][row, 0].float().cpu() for n, p in paths.items() if p in of},
            )
            for row, target in enumerate(result.targets[:, 0].tolist())
        ]

    def index(self, target: int | str) -> int:
        """The class index of an index, a label or a WordNet id: see `Card.index`."""
        return self.card.index(target)

    def prediction(self, logits: Tensor) -> Prediction:
        """What logits (K,) say of the classes, the most probable first: their softmax, or of a
        multi-label network their sigmoids. Raises WeightsError where they are no numbers."""
        if not logits.isfinite().all():
            raise WeightsError("logits_not_finite")
        return prediction(logits, self.labels, self.card.multi_label)

    def _provenance(self, where: Crop) -> dict[str, Any]:
        return {
            "weights": self.card.weights,
            "trained": self.card.trained,
            "fingerprint": self.card.fingerprint,
            "config": self.card.config.to_json(),
            "gamma": self.model.gammas(),
            "precision": self.precision,
            "preprocess": self.preprocess.to_json(),
            "crop": asdict(where),
            "versions": library_versions(),
        }

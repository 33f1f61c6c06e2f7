"""From labelled pictures to a weights file, its history and its curve."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from safetensors import safe_open
from torch import Tensor

from vggviz import zoo
from vggviz.data import Dataset, open_parts
from vggviz.files import whole
from vggviz.images import ImageError, Preprocess
from vggviz.machine import machine
from vggviz.texts import visible
from vggviz.train import Examples, Progress, TrainConfig, TrainError, measure, train
from vggviz.train.curve import curve
from vggviz.vgg import SITES, VGG, VGGConfig
from vggviz.zoo.card import LABEL, checked_labels
from vggviz.zoo.tensors import check_path

__all__ = ["Network", "fit"]


@dataclass(frozen=True, slots=True)
class Network:
    """Which network to train: what it starts from, and the attention in it.

    `weights` is 'none' (a fresh VGG19-BN of `width` with the 'gap' head), a name that `zoo.load`
    knows, but not 'random', or a file. `sites` and `blend` are by default those of the weights
    where these have the same attention already, which then goes on learning, and else all five and
    'residual'.
    """

    weights: str = "none"
    attention: str = "none"
    sites: tuple[str, ...] | None = None
    blend: str | None = None
    width: float = 0.5


def fit(
    data: Path,
    out: Path,
    config: TrainConfig,
    network: Network,
    *,
    classes: Sequence[str] | None = None,
    teacher: Path | None = None,
    resume: bool = False,
    cache: Path | None = None,
    facts: dict[str, Any] | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    unreadable: Callable[[ImageError], None] | None = None,
) -> dict[str, float]:
    """Train on the pictures at `data`, write `out`, and return its accuracy on the validation
    part (`val` of the data, or a fifth of each class).

    Beside OUT.safetensors stand OUT.history.json, OUT.curve.png and the TensorBoard folder
    OUT.tensorboard; OUT.checkpoint.safetensors goes when training is done. `config.sizes` may be
    empty: then the size that the weights are used to. `classes` keeps some of the classes.
    `config.batch` may be 0: then 64, or an eighth of the pictures if that is less.
    `teacher` is a safetensors file whose 'logits' (n, K) are soft labels of the n training
    pictures in their order. `facts` go into the file's card. A picture that can't be read is
    told to `unreadable` and left out, or raises where that is None.

    What starts from weights by name, or from a file in the same folder, with convolutions that
    stay (`config.freeze_backbone`, `config.learn_from`) is written as an adapter: only what differs
    from them. All else is written whole, and so is what would stand on itself, on too many
    backbones, or on one that changed or went in the meantime.

    Raises DataError, ImageError, TrainError, WeightsError, ValueError.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, not as {out.name!r}")
    check_path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    training, validation = open_parts(
        data, classes, generator=torch.Generator().manual_seed(config.seed)
    )
    checked_labels(list(training.labels))  # what a file could not be loaded with
    model, preprocess, backbone = _start(network, training, config, out)
    if not config.sizes:
        config = replace(config, sizes=(preprocess.size,))
    examples, kept = _examples(training, preprocess, unreadable)
    if not config.batch:
        config = replace(config, batch=min(64, max(2, len(kept) // 8)))
    judged, _ = _examples(validation, preprocess, unreadable)
    if teacher is not None:
        soft = _soft_labels(teacher, (len(training), len(training.labels)))
        examples = replace(examples, soft=soft[kept])

    def log(history: list[dict[str, Any]]) -> None:
        if history:
            with whole(_beside(out, "history.json")) as part:
                part.write_text(json.dumps(history, indent=2))
            curve(history, _beside(out, "curve.png"))

    checkpoint = _beside(out, "checkpoint.safetensors")
    history = train(
        model,
        examples,
        judged,
        preprocess,
        config,
        checkpoint,
        resume=resume,
        report=report,
        log=log,
        tensorboard=_beside(out, "tensorboard"),
        cache=cache,
    )
    measured = measure(model.cpu(), judged, preprocess)
    card = zoo.Card(
        weights=visible(out.stem)[:LABEL],
        config=model.config,
        preprocess=preprocess,
        labels=training.labels,
        wnids=training.wnids,
        backbone=backbone,
        facts={
            **(facts or {}),
            "data": visible(data.name),
            "train_pictures": len(examples.targets),
            "validation_pictures": len(judged.targets),
            "validation": measured,
            "network": {**asdict(network), "weights": Path(network.weights).name},
            "recipe": asdict(config),
            "teacher": None if teacher is None else teacher.name,
            "hours": sum(entry["seconds"] for entry in history) / 3600,
            "machine": asdict(machine()),
        },
    )
    if PartialState().is_main_process:
        _save(model, card, out)
        checkpoint.unlink(missing_ok=True)
    return measured


def _start(
    network: Network, data: Dataset, config: TrainConfig, out: Path
) -> tuple[VGG, Preprocess, zoo.Backbone | None]:
    """The network before training, how pictures go in, and what it stands on."""
    generator = torch.Generator().manual_seed(config.seed)
    classes = len(data.labels)
    if network.weights == "none":
        if not config.sizes:
            raise ValueError("a network that starts from nothing needs sizes, such as (32, 48, 64)")
        size = config.sizes[-1]
        fresh = VGGConfig(
            attention=network.attention,
            sites=network.sites or SITES,
            blend=cast(Any, network.blend or "residual"),
            head="gap",
            batch_norm=True,
            width=network.width,
            num_classes=classes,
        )
        return VGG(fresh, generator), Preprocess(size=size, resize=size), None
    if network.weights == "random":
        raise ValueError(
            "random weights are nothing to start from: choose 'none' for a fresh network"
        )

    trained = network.weights == "tiny50" and network.attention in zoo.bundled()
    source, card = zoo.load(network.weights, network.attention if trained else "none")
    same = card.config.attention == network.attention
    chosen = replace(
        card.config,
        attention=network.attention,
        sites=network.sites or (card.config.sites if same else SITES),
        blend=cast(Any, network.blend or (card.config.blend if same else "residual")),
        num_classes=classes,
    )
    model = VGG(chosen, generator)
    _take_over(model, source, head=card.labels == data.labels)
    backbone = None
    stays = config.freeze_backbone or config.learn_from is not None
    file = network.weights.endswith(".safetensors") and _same_folder(Path(network.weights), out)
    if stays and (network.weights in zoo.WEIGHTS or file):
        backbone = zoo.backbone(network.weights, card.config.attention)
    preprocess = card.preprocess
    if config.sizes and config.sizes[-1] != preprocess.size:
        size = config.sizes[-1]
        resize = round(preprocess.resize * size / preprocess.size)
        preprocess = replace(preprocess, size=size, resize=resize)
    return model, preprocess, backbone


def _save(model: VGG, card: zoo.Card, out: Path) -> None:
    try:
        zoo.save(model, card, out)
    except zoo.WeightsError:  # no adapter can stand on that backbone; hours of training must not go
        zoo.save(model, replace(card, backbone=None), out)


def _same_folder(one: Path, other: Path) -> bool:
    """A backbone must lie beside its adapter."""
    return one.resolve().parent == other.resolve().parent


def _take_over(model: VGG, source: VGG, *, head: bool) -> None:
    """Copy what fits by name and shape; the last layer only where the classes are the same."""
    last = f"classifier.{len(model.classifier) - 1}."
    own = model.state_dict()
    state = {
        key: value
        for key, value in source.state_dict().items()
        if key in own and own[key].shape == value.shape and (head or not key.startswith(last))
    }
    model.load_state_dict(state, strict=False)


def _examples(
    dataset: Dataset, preprocess: Preprocess, unreadable: Callable[[ImageError], None] | None
) -> tuple[Examples, Tensor]:
    pixels, kept = dataset.pixels(preprocess, unreadable=unreadable)
    return Examples(pixels, dataset.targets[kept]), kept


def _soft_labels(file: Path, shape: tuple[int, int]) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        logits: Tensor = opened.get_tensor("logits")
    if tuple(logits.shape) != shape:
        raise TrainError(
            f"{file.name} has soft labels {tuple(logits.shape)}, the training pictures need {shape}"
        )
    return logits


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.stem}.{ending}")

"""From labelled pictures to a weights file, its history and its curve."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vggviz.data import Dataset, open_parts, read_crops
from vggviz.files import atomic_write
from vggviz.images import ImageError, Preprocess
from vggviz.networks import Network, NetworkConfig, build_network
from vggviz.platform.machine import machine
from vggviz.texts import visible
from vggviz.training import Examples, Progress, TrainConfig, TrainError, measure, train
from vggviz.training.config import current_names, differences
from vggviz.training.curve import curve
from vggviz.weights import (
    WEIGHTS,
    Backbone,
    Card,
    WeightsError,
    as_written,
    bundled_types,
    load_network,
    read_backbone,
    read_card,
    save_network,
)
from vggviz.weights.card import LABEL, checked_labels
from vggviz.weights.tensors import check_path

__all__ = ["NetworkChoice", "run_training"]


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """Which network to train: what it starts from, and the attention in it.

    `weights` is 'none' (a fresh VGG19-BN of `width` with the 'gap' head), a name that
    `load_network` knows, but not 'random', or a file. `stages` and `blend` are by default those of
    the weights where these have the same attention already, which then goes on learning, and else
    all five and 'residual'.
    """

    weights: str = "none"
    attention: str = "none"
    stages: tuple[str, ...] | None = None
    blend: str | None = None
    width: float = 0.5


def run_training(
    data: Path,
    out: Path,
    config: TrainConfig,
    network: NetworkChoice,
    *,
    classes: Sequence[str] | None = None,
    teacher: Path | None = None,
    resume: bool = False,
    cache: Path | None = None,
    workers: int | None = None,
    facts: dict[str, Any] | None = None,
    opened: Callable[[Dataset, Dataset], None] = lambda *_: None,
    report: Callable[[Progress], None] = lambda _: None,
    unreadable: Callable[[ImageError], None] | None = None,
) -> dict[str, float]:
    """Train on the pictures at `data`, write `out`, and return its accuracy on the validation
    part (`val` of the data, or a fifth of each class).

    Beside OUT.safetensors stand OUT.history.json, OUT.curve.png and the TensorBoard folder
    OUT.tensorboard; OUT.checkpoint.safetensors and OUT.views, which keeps computed views where no
    folder `cache` does, go when training is done. `config.image_sizes` may be
    empty: then the size that the weights are used to. `classes` keeps some of the classes.
    `config.batch` may be 0: then 64, or an eighth of the pictures if that is less.
    `teacher` is a safetensors file whose 'logits' (n, K) are soft labels of the n training
    pictures in their order. `facts` go into the file's card. `opened` is told the pictures to
    learn from and to judge by before training starts. A picture that can't be read is
    told to `unreadable` and left out, or raises where that is None.

    What starts from weights by name, or from a file in the same folder, with convolutions that
    stay (`config.freeze_backbone`, `config.train_from`) is written as an adapter: only what differs
    from them. All else is written whole, and so is what would stand on itself, on too many
    backbones, or on one that changed or went in the meantime. The accuracy is that of the file as
    it is written, in half precision.

    With `resume` a run that was stopped goes on from its checkpoint; where there is none, nothing
    is written. A network of random weights has no backbone that could stay as it is.

    Raises DataError, ImageError, TrainError, WeightsError, ValueError.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, not as {out.name!r}")
    check_path(out)
    checkpoint = _beside(out, "checkpoint.safetensors")
    if resume and not checkpoint.is_file():
        raise _nothing_to_resume(out, checkpoint, config, network)
    if network.weights == "none" and _keeps_layers(config):
        raise _no_backbone("a fresh network is random")
    out.parent.mkdir(parents=True, exist_ok=True)
    training, validation = open_parts(
        data, classes, generator=torch.Generator().manual_seed(config.seed)
    )
    checked_labels(list(training.labels))  # what a file could not be loaded with
    opened(training, validation)
    model, preprocess, backbone = _start(network, training, config, out)
    if not config.image_sizes:
        config = replace(config, image_sizes=(preprocess.size,))
    examples, kept = _examples(training, preprocess, workers, unreadable)
    if not config.batch:
        config = replace(config, batch=min(64, max(2, len(kept) // 8)))
    judged, _ = _examples(validation, preprocess, workers, unreadable)
    if teacher is not None:
        soft = _soft_labels(teacher, (len(training), len(training.labels)))
        examples = replace(examples, soft=soft[kept])

    def log(history: list[dict[str, Any]]) -> None:
        if history:
            with atomic_write(_beside(out, "history.json")) as part:
                part.write_text(json.dumps(history, indent=2))
            curve(history, _beside(out, "curve.png"))

    views = _beside(out, "views")
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
        cache=cache or views,
        workers=workers,
    )
    written, backbone = _as_written(model, backbone, out)
    model.load_state_dict(written)
    measured = measure(model.cpu(), judged, preprocess, workers=workers)
    card = Card(
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
            "network": _facts_of(network),
            "recipe": asdict(config),
            "teacher": None if teacher is None else teacher.name,
            "hours": sum(entry["seconds"] for entry in history) / 3600,
            "machine": asdict(machine()),
        },
    )
    if PartialState().is_main_process:
        _save(model, card, out)
        checkpoint.unlink(missing_ok=True)
        shutil.rmtree(views, ignore_errors=True)
    return measured


def _start(
    network: NetworkChoice, data: Dataset, config: TrainConfig, out: Path
) -> tuple[Network, Preprocess, Backbone | None]:
    """The network before training, how pictures go in, and what it stands on."""
    generator = torch.Generator().manual_seed(config.seed)
    classes = len(data.labels)
    if network.weights == "none":
        if not config.image_sizes:
            raise ValueError(
                "a network that is trained from scratch needs image_sizes: (32, 48, 64)"
            )
        size = config.image_sizes[-1]
        fresh = NetworkConfig(
            attention=network.attention,
            stages=network.stages or (),
            blend=cast(Any, network.blend or "residual"),
            head="gap",
            architecture="vgg19_bn",
            width=network.width,
            num_classes=classes,
        )
        return build_network(fresh, generator), Preprocess(size=size, resize=size), None
    if network.weights == "random":
        raise ValueError(
            "random weights are nothing to start from: choose 'none' for a fresh network"
        )

    trained = network.weights == "tiny50" and network.attention in bundled_types()
    source, card = load_network(network.weights, network.attention if trained else "none")
    if card.trained == "nothing" and _keeps_layers(config):
        raise _no_backbone(f"{network.weights} was never trained")
    same = card.config.attention == network.attention
    chosen = replace(
        card.config,
        attention=network.attention,
        stages=network.stages or (card.config.stages if same else ()),
        blend=cast(Any, network.blend or (card.config.blend if same else "residual")),
        num_classes=classes,
    )
    model = build_network(chosen, generator)
    _take_over(model, source, head=card.labels == data.labels)
    backbone = None
    file = network.weights.endswith(".safetensors") and _same_folder(Path(network.weights), out)
    if _keeps_layers(config) and (network.weights in WEIGHTS or file):
        backbone = read_backbone(network.weights, card.config.attention)
    preprocess = card.preprocess
    if config.image_sizes and config.image_sizes[-1] != preprocess.size:
        size = config.image_sizes[-1]
        resize = round(preprocess.resize * size / preprocess.size)
        preprocess = replace(preprocess, size=size, resize=resize)
    return model, preprocess, backbone


def _keeps_layers(config: TrainConfig) -> bool:
    """Whether some convolutions stay as they are."""
    return config.freeze_backbone or config.train_from is not None


def _no_backbone(why: str) -> ValueError:
    known = ", ".join(name for name in WEIGHTS if name != "random")
    return ValueError(
        f"--freeze-backbone and --train-from keep layers that have learned, and {why}: start from "
        f"weights (--weights {known}, a .safetensors file, or hf:user/repo)"
    )


def _nothing_to_resume(
    out: Path, checkpoint: Path, config: TrainConfig, network: NetworkChoice
) -> TrainError:
    """Why no run goes on at `out`: it is finished, or there never was one."""
    if not out.is_file():
        others = sorted(file.name for file in out.parent.glob("*.checkpoint.safetensors"))
        there = f", which has {', '.join(others)}" if others else ""
        return TrainError(
            f"there is no checkpoint {checkpoint.name} in {out.parent}{there}: give the --out of "
            "the run that was stopped, or start one without --resume"
        )
    facts = read_card(out).facts
    before = current_names({**facts.get("recipe", {}), **facts.get("network", {})})
    now = {**asdict(config), **_facts_of(network)}
    # What is unset would be filled in from the data and the weights.
    unset = {name for name in ("image_sizes", "batch") if not now[name]}
    other = differences(before, {k: v for k, v in now.items() if k in before and k not in unset})
    return TrainError(
        f"{out.name} is finished and stays as it is: to go on from it, leave --resume out and "
        f"start from it (--weights {out}) with another --out"
        + (f"; these settings are not those it was trained with: {other}" if other else "")
    )


def _facts_of(network: NetworkChoice) -> dict[str, Any]:
    return {**asdict(network), "weights": Path(network.weights).name}


def _as_written(
    model: Network, backbone: Backbone | None, out: Path
) -> tuple[dict[str, Tensor], Backbone | None]:
    """The weights as they will be read from `out`, and the backbone that it stands on, if any."""
    try:
        return as_written(model.state_dict(), backbone, out), backbone
    except WeightsError:  # no adapter can stand on that backbone; hours of training must not go
        return as_written(model.state_dict(), None, out), None


def _save(model: Network, card: Card, out: Path) -> None:
    try:
        save_network(model, card, out)
    except WeightsError:  # the backbone changed or went just now
        save_network(model, replace(card, backbone=None), out)


def _same_folder(one: Path, other: Path) -> bool:
    """A backbone must lie beside its adapter."""
    return one.resolve().parent == other.resolve().parent


def _take_over(model: Network, source: Network, *, head: bool) -> None:
    """Copy what fits by name and shape; the last layer only where the classes are the same."""
    last = f"{next(iter(model.parameter_groups().values()))[0]}."
    own = model.state_dict()
    state = {
        key: value
        for key, value in source.state_dict().items()
        if key in own and own[key].shape == value.shape and (head or not key.startswith(last))
    }
    model.load_state_dict(state, strict=False)


def _examples(
    dataset: Dataset,
    preprocess: Preprocess,
    workers: int | None,
    unreadable: Callable[[ImageError], None] | None,
) -> tuple[Examples, Tensor]:
    pixels, kept = read_crops(dataset, preprocess, workers=workers, unreadable=unreadable)
    return Examples(pixels, dataset.targets[kept]), kept


def _soft_labels(file: Path, shape: tuple[int, int]) -> Tensor:
    try:
        with safe_open(file, framework="pt") as opened:
            logits: Tensor = opened.get_tensor("logits")
    except SafetensorError as error:
        raise TrainError(f"{file.name} is no safetensors file with soft labels 'logits'") from error
    if tuple(logits.shape) != shape:
        raise TrainError(
            f"{file.name} has soft labels {tuple(logits.shape)}, the training pictures need {shape}"
        )
    return logits


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.stem}.{ending}")

"""A training run: labelled pictures in, a weights file with its history and plot out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vggviz.data import Dataset, open_parts, open_unlabelled, read_crops
from vggviz.files import atomic_write
from vggviz.images import ImageError, Preprocess
from vggviz.networks import CutNetwork
from vggviz.platform.machine import machine
from vggviz.texts import visible
from vggviz.training import Examples, Progress, TrainConfig, TrainError, measure, train
from vggviz.training.config import current_names, differences
from vggviz.training.curve import plot_history
from vggviz.training.loop import logits_of
from vggviz.training.start import NetworkChoice, freezes_layers, no_backbone, starting_network
from vggviz.training.unlabelled import open_gates
from vggviz.weights import (
    Card,
    WeightsError,
    as_written,
    read_card,
    save_network,
)
from vggviz.weights.card import LABEL, checked_labels
from vggviz.weights.foreign_adapter import save_adapter
from vggviz.weights.tensors import check_path

__all__ = ["NetworkChoice", "run_training"]


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
    on_data: Callable[[Dataset, Dataset], None] = lambda *_: None,
    report: Callable[[Progress], None] = lambda _: None,
    unreadable: Callable[[ImageError], None] | None = None,
) -> dict[str, float]:
    """Train on the pictures at `data`, write the weights file `out`, and return top-1 and top-5
    accuracy on the validation part (`val` of the data, or else a fifth of each class), measured
    with the weights in half precision, as they are written. With `config.unlabelled` the pictures
    need no labels (see `open_unlabelled`), and accuracy is agreement with the network's answers
    without attention.

    It writes OUT.history.json, OUT.curve.png and the TensorBoard folder OUT.tensorboard beside
    OUT.safetensors; OUT.checkpoint.safetensors, and OUT.views with computed features where no
    folder `cache` is given, are removed at the end. With `resume` a stopped run continues from its
    checkpoint.

    An empty `config.image_sizes` means the size of the weights, `config.batch` 0 means 64 or an
    eighth of the pictures if that is less. `classes` selects some of the classes. `teacher` is a
    safetensors file whose 'logits' (n, K) are soft labels of the n training pictures in order.
    `facts` are added to the file's card. `on_data` is called with the training and validation set
    before training, `report` after each step, and `unreadable` with the error of each picture that
    can't be read, which is then left out; where it is None the error is raised.

    The file is an adapter where the run starts from named weights, or from a file in the same
    folder, and does not train all convolutions (`config.freeze_backbone`, `config.train_from`), and
    in a network that vggviz did not build (`save_adapter`). It is complete otherwise, also where
    that backbone would be overwritten or has changed meanwhile.

    Raises DataError, ImageError, TrainError, WeightsError, and ValueError, also where layers of a
    network with random weights would be frozen.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, not as {out.name!r}")
    check_path(out)
    checkpoint = _beside(out, "checkpoint.safetensors")
    if resume and not checkpoint.is_file():
        raise _nothing_to_resume(out, checkpoint, config, network)
    if network.weights == "none" and freezes_layers(config):
        raise no_backbone("a fresh network is random")
    out.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(config.seed)
    if config.unlabelled is None:
        training, validation = open_parts(data, classes, generator=generator)
        checked_labels(list(training.labels))  # raises for labels with which no file would load
    else:
        training, validation = open_unlabelled(data, generator=generator)
    start = starting_network(network, training.labels, training.wnids, config, out)
    model, preprocess, backbone = start.model, start.preprocess, start.backbone
    if config.unlabelled is not None:
        open_gates(model, config.unlabelled.open)
    on_data(training, validation)
    if not config.image_sizes:
        config = replace(config, image_sizes=(preprocess.size,))
    examples, indices = _examples(training, preprocess, workers, unreadable)
    if not config.batch:
        config = replace(config, batch=min(64, max(2, len(indices) // 8)))
    validation_examples, _ = _examples(validation, preprocess, workers, unreadable)
    if config.unlabelled is not None:
        with model.bypass():
            answers = logits_of(model, validation_examples, preprocess, workers=workers)
        validation_examples = replace(validation_examples, targets=answers.argmax(1))
    if teacher is not None:
        soft = _soft_labels(teacher, (len(training), len(start.labels)))
        examples = replace(examples, soft=soft[indices])

    def log(history: list[dict[str, Any]]) -> None:
        if history:
            with atomic_write(_beside(out, "history.json")) as part:
                part.write_text(json.dumps(history, indent=2))
            plot_history(history, _beside(out, "curve.png"))

    views = _beside(out, "views")
    history = train(
        model,
        examples,
        validation_examples,
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
    part = model.attention if isinstance(model, CutNetwork) else model  # what is written
    try:
        written = as_written(part.state_dict(), backbone, out)
    except WeightsError:  # the backbone is gone: write a complete file, or hours would be lost
        backbone, written = None, as_written(part.state_dict(), None, out)
    part.load_state_dict(written)
    accuracy = measure(model.cpu(), validation_examples, preprocess, workers=workers)
    card = Card(
        weights=visible(out.stem)[:LABEL],
        config=model.config,
        preprocess=preprocess,
        labels=start.labels,
        wnids=start.wnids,
        backbone=backbone,
        facts={
            **(facts or {}),
            "data": visible(data.name),
            "train_pictures": len(examples.targets),
            "validation_pictures": len(validation_examples.targets),
            ("validation" if config.unlabelled is None else "agreement"): accuracy,
            "network": network.facts(),
            "recipe": asdict(config),
            "teacher": None if teacher is None else teacher.name,
            "hours": sum(entry["seconds"] for entry in history) / 3600,
            "machine": asdict(machine()),
        },
    )
    if PartialState().is_main_process:
        if isinstance(model, CutNetwork):
            save_adapter(model, card, out)
        else:
            try:
                save_network(model, card, out)
            except WeightsError:  # the backbone changed after it was checked
                save_network(model, replace(card, backbone=None), out)
        checkpoint.unlink(missing_ok=True)
        shutil.rmtree(views, ignore_errors=True)
    return accuracy


def _nothing_to_resume(
    out: Path, checkpoint: Path, config: TrainConfig, network: NetworkChoice
) -> TrainError:
    """The error where there is no checkpoint: the run at `out` is finished, or never started."""
    if not out.is_file():
        others = sorted(file.name for file in out.parent.glob("*.checkpoint.safetensors"))
        there = f", which has {', '.join(others)}" if others else ""
        return TrainError(
            f"there is no checkpoint {checkpoint.name} in {out.parent}{there}: give the --out of "
            "the run that was stopped, or start one without --resume"
        )
    facts = read_card(out, foreign=True).facts
    before = current_names({**facts.get("recipe", {}), **facts.get("network", {})})
    now = {**asdict(config), **network.facts()}
    # What is unset would be filled in from the data and the weights.
    unset = {name for name in ("image_sizes", "batch") if not now[name]}
    other = differences(before, {k: v for k, v in now.items() if k in before and k not in unset})
    return TrainError(
        f"{out.name} is finished and stays as it is: to go on from it, leave --resume out and "
        f"start from it (--weights {out}) with another --out"
        + (f"; these settings are not those it was trained with: {other}" if other else "")
    )


def _examples(
    dataset: Dataset,
    preprocess: Preprocess,
    workers: int | None,
    unreadable: Callable[[ImageError], None] | None,
) -> tuple[Examples, Tensor]:
    pixels, indices = read_crops(dataset, preprocess, workers=workers, unreadable=unreadable)
    return Examples(pixels, dataset.targets[indices]), indices


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

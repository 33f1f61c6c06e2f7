"""From a folder of labelled pictures to a weights file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from vggviz import zoo
from vggviz.data import Dataset, open_parts
from vggviz.images import ImageError, Preprocess
from vggviz.train import Examples, Progress, TrainConfig, TrainError, accuracy, train
from vggviz.vgg import VGG, VGGConfig

__all__ = ["fit"]


def fit(
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    network: Mapping[str, Any],
    classes: Sequence[str] | None = None,
    start: Path | None = None,
    teacher: Path | None = None,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
    unreadable: Callable[[ImageError], None] | None = None,
) -> float:
    """Train a VGG19-BN with the 'gap' head on the pictures at `data`, write `out`, and return
    its accuracy on the validation part (`val` of the data, or a fifth of each class).

    `network` are the fields of `VGGConfig` that are chosen (attention, sites, blend, width).
    `classes` keeps some classes only, by label or WordNet id.
    `start` is a weights file to begin from: what fits by name and shape is taken over. `teacher`
    is a safetensors file whose 'logits' (n, K) are soft labels of the n training pictures in
    their order. The checkpoint stands beside `out` until training is done. A picture that can't
    be read is told to `unreadable` and left out, or raises where that is None.

    Raises DataError, ImageError, TrainError, WeightsError, ValueError.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"weights are written as .safetensors, not as {out.name!r}")
    generator = torch.Generator().manual_seed(config.seed)
    training, validation = open_parts(data, classes, generator=generator)
    preprocess = Preprocess(size=config.sizes[-1], resize=config.sizes[-1])
    examples, kept = _examples(training, preprocess, unreadable)
    if teacher is not None:
        soft = _soft_labels(teacher, (len(training), len(training.labels)))
        examples = replace(examples, soft=soft[kept])
    judged, _ = _examples(validation, preprocess, unreadable)

    chosen = VGGConfig(head="gap", batch_norm=True, num_classes=len(training.labels), **network)
    model = VGG(chosen, torch.Generator().manual_seed(config.seed))
    if start is not None:
        _take_over(model, start)
    checkpoint = out.with_name(f"{out.stem}.checkpoint.safetensors")
    began = time.time()
    history = train(
        model, examples, judged, preprocess, config, checkpoint, resume=resume, report=report
    )
    measured = accuracy(model, judged, preprocess)
    facts = {
        "data": data.name,
        "train_pictures": len(examples.targets),
        "validation_pictures": len(judged.targets),
        "validation_accuracy": measured,
        "recipe": asdict(config),
        "start": None if start is None else start.name,
        "teacher": None if teacher is None else teacher.name,
        "hours_since_last_start": (time.time() - began) / 3600,
        "history": history,
    }
    card = zoo.Card(
        weights=out.stem,
        config=chosen,
        preprocess=preprocess,
        labels=training.labels,
        wnids=training.wnids,
        facts=facts,
    )
    zoo.save(model, card, out)
    checkpoint.unlink(missing_ok=True)
    return measured


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


def _take_over(model: VGG, start: Path) -> None:
    """Copy what fits by name and shape from a weights file."""
    source, _ = zoo.load(start)
    own = model.state_dict()
    state = {
        key: value
        for key, value in source.state_dict().items()
        if key in own and own[key].shape == value.shape
    }
    model.load_state_dict(state, strict=False)

"""Every metric of every network, each written when it is done: nothing is measured twice."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import cv2
import torch
from torch import Tensor

import vggviz
from vggviz.cam import known
from vggviz.data import DataError, Dataset
from vggviz.evaluate.maps.agreement import agree
from vggviz.evaluate.maps.causality import replace_weights
from vggviz.evaluate.maps.faithfulness import be_faithful
from vggviz.evaluate.maps.job import CURVES, Example, Job, Part, Pictures, Row
from vggviz.evaluate.maps.localisation import localise
from vggviz.evaluate.maps.sanity import keep_sane
from vggviz.evaluate.pictures import batches, classes_of
from vggviz.files import whole
from vggviz.images import ImageError, Preprocess
from vggviz.render import overlay, stretch
from vggviz.vgg import SITES, VGG
from vggviz.zoo import Card

__all__ = ["METRICS", "Report", "judge_maps"]

METRICS: dict[str, Callable[[Job], Part]] = {
    "agreement": agree,
    "faithfulness": be_faithful,
    "localisation": localise,
    "sanity": keep_sane,
    "causality": replace_weights,
}


class Subject(Protocol):
    """A network with its weights, as `Explainer` has them."""

    @property
    def model(self) -> VGG:
        """The network."""

    @property
    def card(self) -> Card:
        """Its preprocessing and its classes."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was measured: `settings` say of what and how, `notes` what could not be."""

    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    examples: tuple[Example, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON types, but the examples' pictures."""
        told = asdict(self)
        told["examples"] = [
            {key: value for key, value in asdict(one).items() if key != "png"}
            for one in self.examples
        ]
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in told.items()
        }


def judge_maps(
    subjects: Mapping[str, Subject],
    dataset: Dataset,
    training: Dataset | None = None,
    *,
    metrics: Sequence[str] = tuple(METRICS),
    sites: Sequence[str] = SITES,
    methods: Sequence[str] = ("gradcam", "layercam"),
    others: Mapping[str, Subject] | None = None,
    pictures: int = 200,
    curves: int = CURVES,
    folder: Path | None = None,
    seed: int = 0,
    resamples: int = 2000,
    batch: int = 64,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
    unreadable: Callable[[ImageError], None] | None = None,
) -> Report:
    """Judge every map of the networks `subjects` on a sample of `pictures` pictures of `dataset`.

    Maps are the attention over positions and the CAM `methods` at `sites`; `metrics` are keys of
    `METRICS`. `curves` of the pictures serve metrics of many passes. `training` are pictures with
    boxes to choose thresholds on, `others` networks of another seed by the same names. All
    randomness comes from `seed`, and no number depends on which other networks take part.

    Each metric of each network is written to `folder` when it is done, and read from there where
    it was measured before with the same weights, pictures and settings. `progress` is told (parts
    done, parts in all, the next). A picture that can't be read is told to `unreadable` and left
    out, or raises where that is None.

    Raises ValueError for an unknown metric, method or site, DataError where a network does not
    know a class or no picture can be read, ImageError, and OSError where a file can't be written.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(f"no metric {metric!r}: choose from {', '.join(METRICS)}")
    known(methods)
    for subject in subjects.values():
        for site in sites:
            subject.model.path(site)
    sample = _sample(dataset, pictures, seed)
    learned = None if training is None or training.boxes is None else training
    learned = None if learned is None else _sample(learned, pictures, seed)
    seen: dict[tuple[Preprocess, bool], tuple[Pictures, Tensor]] = {}

    def shown(one: Dataset, card: Card, which: bool) -> Pictures:
        key = card.preprocess, which
        if key not in seen:
            seen[key] = _load(one, card.preprocess, batch, unreadable)
        there, classes = seen[key]
        targets = classes_of(one, card)[classes]
        return Pictures(there.images, targets, there.boxes, there.names)

    parts: list[Part] = []
    done, total = 0, len(subjects) * len(metrics)
    for name, subject in subjects.items():
        other = (others or {}).get(name)
        facts = {
            "version": vggviz.__version__,
            "weights": _digest(subject.model),
            "other": None if other is None else _digest(other.model),
            "files": [sample.files, learned and learned.files],
            "settings": [list(sites), list(methods), curves, seed, resamples],
        }
        for metric in metrics:
            progress(done, total, f"{metric} of {name}")
            file = None if folder is None else folder / "parts" / f"{metric}-{name}.json"
            key = hashlib.sha256(json.dumps([metric, name, facts]).encode()).hexdigest()
            part = _kept(file, key)
            if part is None:
                job = Job(
                    name=name,
                    model=subject.model,
                    pictures=shown(sample, subject.card, False),
                    training=None if learned is None else shown(learned, subject.card, True),
                    other=None if other is None else other.model,
                    sites=tuple(sites),
                    methods=tuple(methods),
                    curves=curves,
                    seed=seed,
                    resamples=resamples,
                    batch=batch,
                    draw=_drawing(subject.card.preprocess),
                )
                part = METRICS[metric](job)
                _keep(file, key, part)
            parts.append(part)
            done += 1
            progress(done, total, "")
    settings = {
        "pictures": len(sample),
        "curves": min(curves, len(sample)),
        "sites": list(sites),
        "methods": list(methods),
        "metrics": list(metrics),
        "networks": {name: _digest(one.model) for name, one in subjects.items()},
        "seed": seed,
        "resamples": resamples,
    }
    notes: dict[str, list[str]] = {}  # what could not be measured: of which networks
    for (name, metric), part in zip(product(subjects, metrics), parts, strict=True):
        for note in part.notes:
            notes.setdefault(f"{metric}: {note}", []).append(name)
    return Report(
        settings,
        tuple(row for part in parts for row in part.rows),
        tuple(example for part in parts for example in part.examples),
        tuple(f"{note} ({', '.join(names)})" for note, names in notes.items()),
    )


def _sample(dataset: Dataset, count: int, seed: int) -> Dataset:
    """`count` pictures in an order that is drawn, so that the first of them are a sample too."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    return dataset.subset(order[:count])


def _load(
    dataset: Dataset,
    preprocess: Preprocess,
    size: int,
    unreadable: Callable[[ImageError], None] | None,
) -> tuple[Pictures, Tensor]:
    """All pictures, and the class of the data that each has."""

    def leave_out(_: int, error: ImageError) -> None:
        if unreadable is None:
            raise error
        unreadable(error)

    parts = [
        part[preprocess] for part in batches(dataset, [preprocess], size, unreadable=leave_out)
    ]
    if not parts:
        raise DataError("none of the pictures can be read")
    indices = torch.cat([part.indices for part in parts])
    boxes = [part.boxes for part in parts if part.boxes is not None]
    there = Pictures(
        torch.cat([part.images for part in parts]),
        dataset.targets[indices],
        torch.cat(boxes) if boxes else None,
        tuple(dataset.files[index] for index in indices.tolist()),
    )
    return there, dataset.targets[indices]


def _digest(model: VGG) -> str:
    """The SHA-256 of a network: its configuration, and every number in it."""
    digest = hashlib.sha256(json.dumps(model.config.to_json()).encode())
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _drawing(preprocess: Preprocess) -> Callable[[Tensor, Tensor], str]:
    def draw(image: Tensor, values: Tensor) -> str:
        pixels = cv2.resize(preprocess.denormalise(image), (160, 160))
        drawn = overlay(pixels.astype("uint8"), stretch(values.numpy())[0])
        done, code = cv2.imencode(".png", drawn[..., ::-1])  # OpenCV wants blue first
        assert done
        return base64.b64encode(code.tobytes()).decode()

    return draw


def _kept(file: Path | None, key: str) -> Part | None:
    """What was measured before; None where nothing was, or something else."""
    if file is None or not file.is_file():
        return None
    try:
        told = json.loads(file.read_text("utf-8"))
        if told["key"] != key:
            return None
        return Part(
            tuple(Row(**row) for row in told["rows"]),
            tuple(Example(**example) for example in told["examples"]),
            tuple(told["notes"]),
        )
    except (ValueError, KeyError, TypeError):
        return None  # not ours, or of another version: measured again


def _keep(file: Path | None, key: str, part: Part) -> None:
    if file is not None:
        with whole(file) as written:
            written.write_text(json.dumps({"key": key, **asdict(part)}, allow_nan=False), "utf-8")

"""Measures maps: every metric for every network, each stored when it is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pandas import DataFrame
from torch import Tensor

import vggviz
from vggviz.cam import check_methods
from vggviz.data import Dataset
from vggviz.evaluation.maps.agreement import AGREEMENT
from vggviz.evaluation.maps.causality import CAUSALITY
from vggviz.evaluation.maps.faithfulness import FAITHFULNESS
from vggviz.evaluation.maps.job import CURVES, Example, Job, MapMetric, Part, Row
from vggviz.evaluation.maps.localisation import LOCALISATION
from vggviz.evaluation.maps.partial_results import PartialResult
from vggviz.evaluation.maps.sanity import SANITY
from vggviz.evaluation.pictures import Pictures, classes_of, load_pictures, shared_classes
from vggviz.evaluation.run import Subject
from vggviz.images import ImageError, Preprocess
from vggviz.networks import Network

__all__ = ["METRICS", "Report", "evaluate_maps"]

METRICS: dict[str, MapMetric] = {
    "agreement": AGREEMENT,
    "faithfulness": FAITHFULNESS,
    "localisation": LOCALISATION,
    "sanity": SANITY,
    "causality": CAUSALITY,
}


@dataclass(frozen=True, slots=True)
class Report:
    """The results of an evaluation of maps: `settings` describe the networks, pictures and
    parameters, `notes` say what could not be measured."""

    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    examples: tuple[Example, ...]
    notes: tuple[str, ...]

    def frame(self) -> DataFrame:
        """The rows as a table with the fields of `Row`."""
        frame = DataFrame([asdict(row) for row in self.rows], columns=[*Row.__slots__])
        return frame.astype({"value": float, "low": float, "high": float})

    def to_json(self) -> dict[str, Any]:
        """Everything but the examples' pictures, for `json.dumps`."""
        found = asdict(self)
        for example in found["examples"]:
            del example["png"]
        return found


def evaluate_maps(
    subjects: Mapping[str, Subject],
    dataset: Dataset,
    training: Dataset | None = None,
    *,
    metrics: Sequence[str] = tuple(METRICS),
    stages: Sequence[str] | None = None,
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
    """Measure every map of the networks `subjects` on a sample of `pictures` pictures of `dataset`,
    of those whose class all networks know.

    Maps are those of attention with a weight for every position and of the CAM `methods`, at
    `stages`, by default all of each network, always sorted from the lowest up; `metrics` are keys
    of `METRICS`. Metrics of many passes use `curves` of the pictures. `training` are pictures with
    boxes to choose thresholds on, `others` networks of another seed by the same names. All
    randomness comes from `seed`; numbers after shuffling of weights depend on `batch`, too. No
    number depends on which other networks take part.

    Each metric of each network is written to `folder` when it is done, and read from there where
    it was measured before with the same weights, pictures and settings. `progress` is called with
    (parts done, parts in all, the next). A picture that can't be read is given to `unreadable` and
    left out, or raises where that is None.

    Raises ValueError for an unknown metric, method or stage, DataError where the networks know no
    class or no picture can be read, ImageError, and OSError where a file can't be written.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(f"no metric {metric!r}: choose from {', '.join(METRICS)}")
    check_methods(methods)
    stages_of = {
        name: tuple(sorted(stages or one.model.stages, key=partial(_depth, one.model)))
        for name, one in subjects.items()
    }
    cards = [subject.card for subject in subjects.values()]
    dataset, unknown = shared_classes(dataset, cards)
    sample = _sample(dataset, pictures, seed)
    training_sample: Dataset | None = None
    if training is not None and training.has_objects:
        training_sample = _sample(shared_classes(training, cards)[0], pictures, seed)
    loaded: dict[tuple[int, Preprocess], Pictures] = {}

    def pictures_for(subject: Subject, part: Dataset) -> Pictures:
        """The pictures with indices of the network's outputs as targets, decoded once for all
        networks with the same preprocessing."""
        key = id(part), subject.card.preprocess
        if key not in loaded:
            loaded[key] = load_pictures(part, subject.card.preprocess, unreadable)
        classes = classes_of(part, subject.card)
        return replace(loaded[key], targets=classes[loaded[key].targets])

    parts: dict[tuple[str, str], Part] = {}
    total = len(subjects) * len(metrics)
    for name, subject in subjects.items():
        other = _other(subject, (others or {}).get(name))
        own = pictures_for(subject, sample)
        boxes = None if training_sample is None else pictures_for(subject, training_sample)
        facts = {
            "version": vggviz.__version__,
            "weights": _network_digest(subject),
            "pictures": _picture_digest(own),
            "settings": [stages_of[name], list(methods), seed, resamples],
        }
        optional_facts = {  # that only some metrics depend on
            "other": other and _network_digest(other),
            "training": _picture_digest(boxes),
            "curves": curves,
            "batch": batch,
        }
        for metric in metrics:
            progress(len(parts), total, f"{metric} of {name}")
            more = {key: optional_facts[key] for key in METRICS[metric].depends_on}
            stored = PartialResult(folder, metric, name, facts | more)
            part = stored.load()
            if part is None:
                job = Job(
                    metric=metric,
                    name=name,
                    subject=subject,
                    pictures=own,
                    training=boxes,
                    other=None if other is None else other.model,
                    stages=stages_of[name],
                    methods=tuple(methods),
                    curves=curves,
                    seed=seed,
                    resamples=resamples,
                    batch=batch,
                )
                part = METRICS[metric].measure(job)
                stored.save(part)
            parts[name, metric] = part
            progress(len(parts), total, "")
    settings = {
        "pictures": len(sample),
        "curves": min(curves, len(sample)),
        "stages": list(dict.fromkeys(stage for some in stages_of.values() for stage in some)),
        "methods": list(methods),
        "metrics": list(metrics),
        "networks": {name: _network_digest(one) for name, one in subjects.items()},
        "seed": seed,
        "resamples": resamples,
        "unknown": unknown,
    }
    notes: dict[str, list[str]] = {}  # what could not be measured: of which networks
    for (name, metric), part in parts.items():
        for note in part.notes:
            notes.setdefault(f"{metric}: {note}", []).append(name)
    return Report(
        settings,
        tuple(row for part in parts.values() for row in part.rows),
        tuple(example for part in parts.values() for example in part.examples),
        tuple(f"{note} ({', '.join(names)})" for note, names in notes.items()),
    )


def _depth(model: Network, stage: str) -> int:
    """The index of the network's layer that contains a stage; their number where none does."""
    path, layers = f"{model.path(stage)}.", model.layers.values()
    return next((n for n, layer in enumerate(layers) if path.startswith(f"{layer}.")), len(layers))


def _other(subject: Subject, other: Subject | None) -> Subject | None:
    """`other` itself. Raises ValueError where its configuration, classes or preprocessing
    differ."""
    fields = ("config", "labels", "preprocess")
    if other and any(getattr(other.card, f) != getattr(subject.card, f) for f in fields):
        raise ValueError("a network of another seed must be built alike, with the same classes")
    return other


def _sample(dataset: Dataset, count: int, seed: int) -> Dataset:
    """`count` pictures in random order, so that the first of them are a random sample, too."""
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    return dataset.subset(order[:count])


def _digest(facts: Any, tensors: Iterable[Tensor | None]) -> str:
    """The SHA-256 of facts, as JSON, and of the contents of tensors."""
    found = hashlib.sha256(json.dumps(facts).encode())
    for values in tensors:
        found.update(b"" if values is None else values.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _network_digest(subject: Subject) -> str:
    state = subject.model.state_dict()
    return _digest([subject.card.config.to_json(), [*state]], state.values())


def _picture_digest(pictures: Pictures | None) -> str:
    if pictures is None:
        return ""
    tensors = pictures.images, pictures.targets, pictures.boxes, pictures.masks
    return _digest(pictures.names, tensors)

"""Every metric of every network, each written when it is done: nothing is measured twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import vggviz
from vggviz.cam import check_methods
from vggviz.data import Dataset
from vggviz.evaluation.maps.agreement import agree
from vggviz.evaluation.maps.causality import replace_weights
from vggviz.evaluation.maps.faithfulness import be_faithful
from vggviz.evaluation.maps.job import CURVES, Example, Job, Part, Row
from vggviz.evaluation.maps.localisation import localise
from vggviz.evaluation.maps.partial_results import Kept, digest
from vggviz.evaluation.maps.sample import Sample, drawing
from vggviz.evaluation.maps.sanity import keep_sane
from vggviz.evaluation.run import Subject
from vggviz.images import ImageError
from vggviz.networks import Network

__all__ = ["METRICS", "Report", "judge_maps"]

METRICS: dict[str, Callable[[Job], Part]] = {
    "agreement": agree,
    "faithfulness": be_faithful,
    "localisation": localise,
    "sanity": keep_sane,
    "causality": replace_weights,
}
# What only some of them depend on: it can change, and the others are not measured again.
ONLY = {
    "other": ("agreement",),
    "training": ("localisation",),
    "curves": ("faithfulness", "sanity"),
    "batch": ("causality",),
}


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
    """Judge every map of the networks `subjects` on a sample of `pictures` pictures of `dataset`.

    Maps are the attention over positions and the CAM `methods` at `stages`, by default all, from
    the lowest up in whatever order they are named; `metrics` are keys of `METRICS`. `curves` of the
    pictures serve metrics of many passes. `training` are pictures with boxes to choose thresholds
    on, `others` networks of another seed by the same names. All randomness comes from `seed`, drawn
    `batch` by `batch` where weights are shuffled, and no number depends on which other networks
    take part.

    Each metric of each network is written to `folder` when it is done, and read from there where
    it was measured before with the same weights, pictures and settings. `progress` is told (parts
    done, parts in all, the next). A picture that can't be read is told to `unreadable` and left
    out, or raises where that is None.

    Raises ValueError for an unknown metric, method or stage, DataError where a network does not
    know a class or no picture can be read, ImageError, and OSError where a file can't be written.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(f"no metric {metric!r}: choose from {', '.join(METRICS)}")
    check_methods(methods)
    stages = stages or next(iter(subjects.values())).model.stages
    for subject in subjects.values():
        stages = sorted(stages, key=partial(_depth, subject.model))
    shown = Sample(dataset, pictures, seed, batch, unreadable)
    boxed = training is not None and training.boxes is not None
    learned = Sample(training, pictures, seed, batch, unreadable) if training and boxed else None
    seen, studied = shown.fingerprint(), learned and learned.fingerprint()
    parts: dict[tuple[str, str], Part] = {}
    total = len(subjects) * len(metrics)
    for name, subject in subjects.items():
        other = _other(subject, (others or {}).get(name))
        facts = {
            "version": vggviz.__version__,
            "weights": digest(subject.model),
            "preprocess": subject.card.preprocess.to_json(),
            "other": None if other is None else digest(other),
            "classes": [subject.card.labels, subject.card.wnids],
            "pictures": seen,
            "training": studied,
            "curves": curves,
            "batch": batch,
            "settings": [list(stages), list(methods), seed, resamples],
        }
        kept = Kept(folder, facts, ONLY)
        for metric in metrics:
            progress(len(parts), total, f"{metric} of {name}")
            part = kept.get(metric, name)
            if part is None:
                job = Job(
                    name=name,
                    model=subject.model,
                    pictures=shown.seen_by(subject.card),
                    training=None if learned is None else learned.seen_by(subject.card),
                    other=other,
                    stages=tuple(stages),
                    methods=tuple(methods),
                    curves=curves,
                    seed=seed,
                    resamples=resamples,
                    batch=batch,
                    draw=drawing(subject.card.preprocess),
                )
                part = METRICS[metric](job)
                kept.put(metric, name, part)
            parts[name, metric] = part
            progress(len(parts), total, "")
    settings = {
        "pictures": len(shown.dataset),
        "curves": min(curves, len(shown.dataset)),
        "stages": list(stages),
        "methods": list(methods),
        "metrics": list(metrics),
        "networks": {name: digest(one.model) for name, one in subjects.items()},
        "seed": seed,
        "resamples": resamples,
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
    """The place of a stage among the network's layers; what is in none of them comes last."""
    path, layers = f"{model.path(stage)}.", model.layers.values()
    return next((n for n, layer in enumerate(layers) if path.startswith(f"{layer}.")), len(layers))


def _other(subject: Subject, other: Subject | None) -> Network | None:
    if other is None:
        return None
    alike = (
        other.model.config == subject.model.config
        and other.card.labels == subject.card.labels
        and other.card.preprocess == subject.card.preprocess
    )
    if not alike:
        raise ValueError("a network of another seed must be built alike, with the same classes")
    return other.model

"""The measuring: every network on every picture, then the statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from vggviz.data import DataError, Dataset
from vggviz.evaluation.cost import multiply_adds, parameters
from vggviz.evaluation.observer import Observer
from vggviz.evaluation.pictures import batches, classes_of
from vggviz.evaluation.pointing import Judge
from vggviz.evaluation.result import Cost, Evaluation, Result
from vggviz.hooks.capture import evaluating
from vggviz.images import ImageError
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.metrics.statistics import median
from vggviz.networks import Network
from vggviz.platform.device import run_network
from vggviz.platform.timing import interleaved
from vggviz.weights import Card, ForeignCard

__all__ = ["Subject", "evaluate"]


class Subject(Protocol):
    """A network with its weights, as `Explainer` has them."""

    @property
    def model(self) -> Network:
        """The network."""

    @property
    def card(self) -> Card | ForeignCard:
        """Its preprocessing and its classes."""


def evaluate(
    subjects: Mapping[str, Subject],
    dataset: Dataset,
    *,
    reference: str = "none",
    batch: int = 128,
    rounds: int = 15,
    resamples: int = 10_000,
    replacements: Sequence[str] = ("uniform", "shuffled"),
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    unreadable: Callable[[ImageError], None] | None = None,
) -> Evaluation:
    """Measure the networks `subjects` on all pictures of `dataset`, against that of `reference`.

    Every picture is decoded once and shown to all networks, `batch` pictures at a time, so that
    all differences are paired. `rounds` are for latency (one picture, as many threads as PyTorch
    uses), `resamples` for the bootstrap intervals; `replacements` are keys of `REPLACEMENTS`.
    `seed` is for resampling and shuffling, which is drawn batch by batch: numbers other than
    latency depend on nothing else, those of 'shuffled' on `batch` too, and none on which other
    networks take part. `progress` is told (passes done, passes in all). A picture that can't be
    read is told to `unreadable` and left out, or raises where that is None.

    Raises DataError where a network does not know a class of the data, or no picture can be read,
    ImageError, and ValueError for an unknown reference or replacement or fewer than 6 rounds.
    """
    if reference not in subjects:
        raise ValueError(f"no reference {reference!r}: there are {', '.join(subjects)}")
    for name in replacements:
        if name not in REPLACEMENTS:
            raise ValueError(f"no replacement {name!r}: choose from {', '.join(REPLACEMENTS)}")
    if rounds < 6:
        raise ValueError(f"an interval of the latency needs at least 6 rounds, not {rounds}")
    classes = {name: classes_of(dataset, subject.card) for name, subject in subjects.items()}
    observers = {
        name: Observer(subject.model, replacements, seed) for name, subject in subjects.items()
    }
    each = sum(observer.passes for observer in observers.values())
    done, total = 0, len(dataset) * each + len(subjects) * (rounds + 1)

    def step(passes: int = 1) -> None:
        nonlocal done
        done += passes
        progress(done, total)

    left_out: list[str] = []

    def leave_out(index: int, error: ImageError) -> None:
        if unreadable is None:
            raise error
        left_out.append(dataset.files[index])
        unreadable(error)
        step(each)

    preprocesses = {subject.card.preprocess for subject in subjects.values()}
    shown: list[Tensor] = []
    for part in batches(dataset, preprocesses, batch, unreadable=leave_out):
        for name, observer in observers.items():
            looked = part[subjects[name].card.preprocess]
            observer.see(looked, classes[name][dataset.targets[looked.indices]])
            step(len(looked.indices) * observer.passes)
        shown.append(next(iter(part.values())).indices)
    if not shown:
        raise DataError("none of the pictures can be read")
    answers = dataset.targets[torch.cat(shown)]  # (n,)
    costs = _costs(subjects, reference, rounds, step)
    seen = {name: observer.seen() for name, observer in observers.items()}
    right = {
        name: one.logits.argmax(1) == classes[name][answers] for name, one in seen.items()
    }  # (n,) each
    judge, results = Judge(seed, resamples), dict[str, Result]()
    for name, subject in subjects.items():
        card, logits, targets = subject.card, seen[name].logits, classes[name][answers]
        results[name] = Result(
            weights=card.weights,
            fingerprint=card.fingerprint,
            attention=card.config.attention,
            stages=observers[name].stages if len(subject.model.attention) else (),
            gammas=subject.model.gammas(),
            cost=costs[name],
            top1=judge.shares(right[name][:, None])[0],
            top5=judge.top(logits, targets, 5) if logits.shape[1] > 5 else None,
            calibration=judge.calibration(logits, targets),
            against=None if name == reference else judge.difference(right[name], right[reference]),
            use={
                replacement: judge.difference(right[name], changed.argmax(1) == targets)
                for replacement, changed in seen[name].replaced.items()
            },
            pointing=judge.pointing(seen[name], (card.preprocess.size, card.preprocess.size)),
            spread=seen[name].spread,
        )
    return Evaluation(
        reference=reference,
        pictures=len(answers),
        classes=len(answers.unique()),
        unreadable=tuple(left_out),
        seed=seed,
        resamples=resamples,
        rounds=rounds,
        results=results,
    )


def _costs(
    subjects: Mapping[str, Subject], reference: str, rounds: int, step: Callable[[], None]
) -> dict[str, Cost]:
    models = {
        name: (subject.model, _noise(subject.card.preprocess.size))
        for name, subject in subjects.items()
    }
    with ExitStack() as stack, torch.no_grad():
        for model, _ in models.values():
            stack.enter_context(evaluating(model))
        works = {
            name: partial(run_network, model, image) for name, (model, image) in models.items()
        }
        seconds = interleaved(works, rounds, progress=lambda *_: step())
    return {
        name: Cost(
            parameters=parameters(model),
            multiply_adds=multiply_adds(model, image),
            latency=median(seconds[name]),
            ratio=None
            if name == reference
            else median([a / b for a, b in zip(seconds[name], seconds[reference], strict=True)]),
        )
        for name, (model, image) in models.items()
    }


def _noise(size: int) -> Tensor:
    """(1, 3, size, size), channels last as the networks are."""
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    return image.contiguous(memory_format=torch.channels_last)

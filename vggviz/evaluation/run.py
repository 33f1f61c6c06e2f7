"""Measures networks on labelled pictures: accuracy, cost, pointing game, use of attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from operator import truediv
from typing import Protocol

import torch
from torch import Tensor

from vggviz.data import DataError, Dataset
from vggviz.evaluation.estimator import Estimator
from vggviz.evaluation.observer import Observer
from vggviz.evaluation.pictures import batches, classes_of, shared_classes
from vggviz.evaluation.result import Cost, Evaluation, Result
from vggviz.hooks.capture import evaluating
from vggviz.images import ImageError
from vggviz.metrics.cost import multiply_adds, parameters
from vggviz.metrics.replacement import REPLACEMENTS
from vggviz.metrics.statistics import Estimate
from vggviz.networks import Network
from vggviz.platform.device import run_network
from vggviz.platform.timing import Interval, interleaved
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
    """Measure the networks `subjects` against that of `reference`, on all pictures of `dataset`
    whose class they all know.

    Every picture is decoded once and goes through all networks, `batch` pictures at a time, so that
    all differences are paired. `rounds` are for latency (one picture, as many threads as PyTorch
    uses), `resamples` for the bootstrap intervals; `replacements` are keys of `REPLACEMENTS`.
    `seed` is for resampling and shuffling, which is drawn batch by batch: numbers other than
    latency depend on nothing else, those of 'shuffled' on `batch` too, and none on which other
    networks take part. `progress` is called with (passes done, passes in all). A picture that can't
    be read is given to `unreadable` and left out, or raises where that is None.

    Raises DataError where the networks know no class of the data, or no picture can be read,
    ImageError, and ValueError for an unknown reference or replacement or fewer than 6 rounds.
    """
    if reference not in subjects:
        raise ValueError(f"no reference {reference!r}: there are {', '.join(subjects)}")
    for name in replacements:
        if name not in REPLACEMENTS:
            raise ValueError(f"no replacement {name!r}: choose from {', '.join(REPLACEMENTS)}")
    if rounds < 6:
        raise ValueError(f"an interval of the latency needs at least 6 rounds, not {rounds}")
    cards = {name: subject.card for name, subject in subjects.items()}
    dataset, unknown = shared_classes(dataset, cards.values())
    classes = {name: classes_of(dataset, card) for name, card in cards.items()}
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

    preprocesses = {card.preprocess for card in cards.values()}
    parts: list[Tensor] = []
    for part in batches(dataset, preprocesses, batch, unreadable=leave_out):
        for name, observer in observers.items():
            pictures = part[cards[name].preprocess]
            observer.observe(pictures, classes[name][pictures.targets])
            step(len(pictures.targets) * observer.passes)
        parts.append(pictures.targets)
    if not parts:
        raise DataError("none of the pictures can be read")
    answers = torch.cat(parts)  # (n,)
    costs = _costs(subjects, reference, rounds, step)
    observed = {name: observer.observations() for name, observer in observers.items()}
    right = {
        name: one.logits.argmax(1) == classes[name][answers] for name, one in observed.items()
    }  # (n,) each
    estimator, results = Estimator(seed, resamples), dict[str, Result]()
    for name, subject in subjects.items():
        card, one, targets = cards[name], observed[name], classes[name][answers]
        results[name] = Result(
            weights=card.weights,
            fingerprint=card.fingerprint,
            attention=card.config.attention,
            stages=observers[name].stages if len(subject.model.attention) else (),
            gammas=subject.model.gammas(),
            cost=costs[name],
            top1=estimator.shares(right[name][:, None])[0],
            top5=estimator.top(one.logits, targets, 5) if one.logits.shape[1] > 5 else None,
            calibration=estimator.calibration(one.logits, targets),
            against=None
            if name == reference
            else estimator.difference(right[name], right[reference]),
            use={
                replacement: estimator.difference(right[name], logits.argmax(1) == targets)
                for replacement, logits in one.replaced.items()
            },
            pointing=estimator.pointing(one, (card.preprocess.size, card.preprocess.size)),
            spread=one.spread,
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
        unknown=unknown,
    )


def _costs(
    subjects: Mapping[str, Subject], reference: str, rounds: int, step: Callable[[], None]
) -> dict[str, Cost]:
    """The costs by network, measured on one picture of noise (1, 3, S, S), channels last."""
    works: dict[str, partial[Tensor]] = {}
    for name, subject in subjects.items():
        size, generator = subject.card.preprocess.size, torch.Generator().manual_seed(0)
        image = torch.randn(1, 3, size, size, generator=generator)
        image = image.contiguous(memory_format=torch.channels_last)
        works[name] = partial(run_network, subject.model, image)
    with ExitStack() as stack, torch.no_grad():
        for subject in subjects.values():
            stack.enter_context(evaluating(subject.model))
        seconds = interleaved(works, rounds, progress=lambda *_: step())
    return {
        name: Cost(
            parameters=parameters(subject.model),
            multiply_adds=multiply_adds(*works[name].args),
            latency=Estimate(*Interval.of(seconds[name])),
            ratio=None
            if name == reference
            else Estimate(*Interval.of([*map(truediv, seconds[name], seconds[reference])])),
        )
        for name, subject in subjects.items()
    }

"""One run of the benchmark: every case once a round, then the measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch

from vggviz.benchmark.cases import BARE, CASES
from vggviz.benchmark.fixtures import Fixtures
from vggviz.benchmark.measures import MEASURES, MeasureValues
from vggviz.benchmark.report import Report, Timing
from vggviz.platform.machine import machine
from vggviz.platform.timing import interleaved

__all__ = ["run"]

T = TypeVar("T")


def run(
    *,
    size: int = 224,
    repeats: int = 15,
    width: float = 1.0,
    threads: int | None = None,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Time the cases `names` (keys of `CASES`, by default all) on VGG19 with random weights, and
    take the measures among them (keys of `MEASURES`).

    `size` × `size` pixels, `width` as in `NetworkConfig`, `threads` of PyTorch (by
    default as many as it uses now). After one warm-up each, every round runs every case once, in
    an order drawn anew, so that whatever disturbs the machine hits all alike. `progress` is called
    with (calls done, calls in all), the warm-up included. Measures come after the rounds, one after
    another, `repeats` times each or more, after a first one that does not count.

    Raises ValueError for an unknown case or fewer than one round.
    """
    known = (*CASES, *MEASURES)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"no case {unknown[0]!r}: choose from {', '.join(known)}")
    if repeats < 1:
        raise ValueError(f"there must be at least 1 round, not {repeats}")
    cases = [name for name in CASES if names is None or name in names or name == BARE]
    calls = {
        name: 1 + repeats * measure.often
        for name, measure in MEASURES.items()
        if names is None or name in names
    }
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        where = machine()
        fixtures = Fixtures(size, width)
        works, missing = _prepared({name: partial(CASES[name].ready, fixtures) for name in cases})
        total = len(works) * (repeats + 1) + sum(calls.values())
        seconds = interleaved(works, repeats, progress=lambda done, _: progress(done, total))
        works.clear()  # their networks would be counted as memory of what comes
        measured: dict[str, MeasureValues] = {}
        done = total - sum(calls.values())
        for name, count in calls.items():
            measure, values = MEASURES[name], list[float]()
            takes, lacking = _prepared({name: measure.prepare})
            missing += lacking
            for _ in range(count):
                values += [take() for take in takes.values()]
                done += 1
                progress(done, total)
            if values:
                found = MeasureValues(measure.label, measure.unit, measure.aim, tuple(values[1:]))
                measured[name] = found
    finally:
        torch.set_num_threads(before)
    timings = {name: Timing(name, tuple(taken)) for name, taken in seconds.items()}
    return Report(where, size, width, timings, tuple(missing), measured)


def _prepared(prepares: Mapping[str, Callable[[], T]]) -> tuple[dict[str, T], list[str]]:
    """What can be prepared, and the names of what needs a library that is not installed."""
    prepared: dict[str, T] = {}
    missing: list[str] = []
    for name, prepare in prepares.items():
        try:
            prepared[name] = prepare()
        except ModuleNotFoundError:
            missing.append(name)
    return prepared, missing

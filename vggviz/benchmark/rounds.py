"""The measuring: every case once a round, in rounds, then what is measured by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from vggviz.benchmark.cases import BARE, CASES
from vggviz.benchmark.fixtures import Bed, Work
from vggviz.benchmark.interval import Measured
from vggviz.benchmark.measures import MEASURES
from vggviz.benchmark.report import Report, Timing
from vggviz.platform.machine import machine
from vggviz.platform.timing import interleaved

__all__ = ["run"]


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
    an order drawn anew, so that whatever disturbs the machine hits all alike. `progress` is told
    (calls done, calls in all), the warm-up included. Measures come after the rounds, one after
    another, `repeats` times each or more, after a first time that is not kept.

    Raises ValueError for an unknown case or fewer than one round.
    """
    known = (*CASES, *MEASURES)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"no case {unknown[0]!r}: choose from {', '.join(known)}")
    if repeats < 1:
        raise ValueError(f"there must be at least 1 round, not {repeats}")
    wanted = [name for name in CASES if names is None or name in names or name == BARE]
    measures = [name for name in MEASURES if names is None or name in names]
    calls = {name: 1 + repeats * MEASURES[name].often for name in measures}
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        where = machine()
        works, missing = _prepare(wanted, Bed(size, width))
        total = len(works) * (repeats + 1) + sum(calls.values())
        seconds = interleaved(works, repeats, progress=lambda done, _: progress(done, total))
        works.clear()  # their networks would be counted as memory of what comes
        measured: dict[str, Measured] = {}
        done = total - sum(calls.values())
        for name in measures:
            take, values = MEASURES[name].prepare(), list[float]()
            for _ in range(calls[name]):
                values.append(take())
                done += 1
                progress(done, total)
            measure = MEASURES[name]
            measured[name] = Measured(measure.label, measure.unit, measure.aim, tuple(values[1:]))
    finally:
        torch.set_num_threads(before)
    timings = {name: Timing(name, tuple(taken)) for name, taken in seconds.items()}
    return Report(where, size, width, timings, tuple(missing), measured)


def _prepare(names: Iterable[str], bed: Bed) -> tuple[dict[str, Work], list[str]]:
    works: dict[str, Work] = {}
    missing: list[str] = []
    for name in names:
        case = CASES[name]
        try:
            works[name] = case.ready(bed)
        except ModuleNotFoundError:
            missing.append(name)
    return works, missing

"""The measuring: every case once a round, in rounds."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter

import torch

from vggviz.bench.cases import BARE, CASES, Bed, Work
from vggviz.bench.report import Report, Timing
from vggviz.machine import machine

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
    """Time the cases `names` (keys of `CASES`, by default all) on VGG19 with random weights.

    Batch 1, fp32, `size` × `size` pixels, `width` as in `VGGConfig`, `threads` of PyTorch (by
    default as many as it uses now). After one warm-up each, every round runs every case once, in
    an order drawn anew, so that whatever disturbs the machine hits all alike. `progress` is told
    (calls done, calls in all), the warm-up included.

    Raises ValueError for an unknown case or fewer than one round.
    """
    unknown = [name for name in names or () if name not in CASES]
    if unknown:
        raise ValueError(f"no case {unknown[0]!r}: choose from {', '.join(CASES)}")
    if repeats < 1:
        raise ValueError(f"there must be at least 1 round, not {repeats}")
    wanted = [name for name in CASES if names is None or name in names or name == BARE]
    before, collecting = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(threads or before)
    gc.disable()  # a collection in the middle of a case would be counted as its own
    try:
        where = machine()
        works, missing = _prepare(wanted, Bed(size, width))
        seconds = _rounds(works, repeats, progress)
    finally:
        torch.set_num_threads(before)
        if collecting:
            gc.enable()
    timings = {name: Timing(name, tuple(taken)) for name, taken in seconds.items()}
    return Report(where, size, width, timings, tuple(missing))


def _prepare(names: Iterable[str], bed: Bed) -> tuple[dict[str, Work], list[str]]:
    works: dict[str, Work] = {}
    missing: list[str] = []
    for name in names:
        case = CASES[name]
        try:
            works[name] = case.prepare(bed, case.sites)
        except ModuleNotFoundError:
            missing.append(name)
    return works, missing


def _rounds(
    works: Mapping[str, Work], repeats: int, progress: Callable[[int, int], None]
) -> dict[str, list[float]]:
    names, generator = list(works), torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    done, total = 0, len(names) * (repeats + 1)
    for number in range(repeats + 1):  # round 0 is the warm-up
        gc.collect()
        for index in torch.randperm(len(names), generator=generator).tolist():
            work = works[names[index]]
            start = perf_counter()
            work()
            taken = perf_counter() - start
            if number:
                seconds[names[index]].append(taken)
            done += 1
            progress(done, total)
    return seconds

"""Comparison of run times, in rounds that each have an order of their own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from time import perf_counter

import torch

__all__ = ["interleaved"]


def interleaved(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[float]]:
    """Seconds that each of `works` takes, in each round.

    After one warm-up each, every round calls every one of them once, in a new random order, so
    that whatever disturbs the machine affects all alike: ratios within a round are more reliable
    than seconds. Garbage is collected between rounds only. `progress` is called with (calls done,
    calls in all), the warm-up included.
    """
    names, generator = list(works), torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    done, total = 0, len(names) * (rounds + 1)
    collecting = gc.isenabled()
    gc.disable()  # a collection in the middle of a work would be counted as its own
    try:
        for number in range(rounds + 1):  # round 0 is the warm-up
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
    finally:
        if collecting:
            gc.enable()
    return seconds

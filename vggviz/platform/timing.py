"""Timing in interleaved rounds, and medians with their 95% intervals."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

import torch

__all__ = ["Interval", "interleaved"]


class Interval(NamedTuple):
    """A median, and the bounds between which the true one lies with a confidence of 95%."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """The median of `values` with its distribution-free interval from order statistics.

        As many values are cut off on each side as leave a Binomial(n, 1/2) tail of at most
        2.5%. Fewer than 6 values can't reach 95%: the interval is then all of their range.
        Conover 1999, 'Practical Nonparametric Statistics', section 3.2.
        """
        ordered, count = sorted(values), len(values)
        cut, tail = 0, 2.0**-count
        while tail + math.comb(count, cut + 1) * 2.0**-count <= 0.025:
            cut += 1
            tail += math.comb(count, cut) * 2.0**-count
        return cls(statistics.median(ordered), ordered[cut], ordered[count - 1 - cut])


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

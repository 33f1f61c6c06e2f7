"""Estimates with 95% intervals from what was observed of networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vggviz.evaluation.observer import Observations
from vggviz.evaluation.result import GRADCAM, SUBSETS, Difference, Pointing, Subset, View
from vggviz.metrics.localisation import box_area, misses_centre
from vggviz.metrics.statistics import Estimate, bootstrap, calibration, mcnemar
from vggviz.types import Grid

__all__ = ["Estimator"]

SMALL = 1 / 3  # of the picture's area


@dataclass(frozen=True, slots=True)
class Estimator:
    """Estimates over n pictures. Each bootstrap starts anew from `seed`, so that a number does not
    depend on what else was estimated before."""

    seed: int
    resamples: int

    def shares(self, columns: Tensor) -> list[Estimate]:
        """The mean over pictures of each column (n, k)."""
        return bootstrap(columns, self._generator(), resamples=self.resamples)

    def top(self, logits: Tensor, targets: Tensor, count: int) -> Estimate:
        """Top-`count` accuracy of logits (n, K) against classes (n,)."""
        predicted = logits.topk(min(count, logits.shape[1]), 1).indices
        return self.shares((predicted == targets[:, None]).any(1, keepdim=True))[0]

    def calibration(self, logits: Tensor, targets: Tensor) -> Estimate:
        """The expected calibration error of logits (n, K) against classes (n,)."""
        return calibration(logits, targets, self._generator(), resamples=self.resamples)

    def difference(self, first: Tensor, second: Tensor) -> Difference:
        """The difference `first` − `second`, both (n,): whether each picture was classified
        right."""
        return Difference(
            points=self.shares((first.double() - second.double())[:, None])[0],
            better=int((first & ~second).sum()),
            worse=int((~first & second).sum()),
            p=mcnemar(first, second),
        )

    def pointing(self, observed: Observations, size: Grid) -> Pointing | None:
        """The pointing game on pictures of `size`; None without boxes.

        Pictures whose box was cropped away take no part.
        """
        if observed.boxes is None:
            return None
        areas = box_area(observed.boxes, size)
        off_centre = misses_centre(observed.boxes, size)
        members = (areas > 0, (areas > 0) & off_centre, (areas > 0) & (areas <= SMALL))
        keys = list(observed.hits)
        subsets: dict[str, Subset] = {}
        best: dict[str, dict[str, str]] = {}
        rates: dict[tuple[str, str], dict[str, Estimate]] = {key: {} for key in keys}
        over_gradcam: dict[str, Estimate] = {}
        for name, chosen in zip(SUBSETS, members, strict=True):
            if not bool(chosen.any()):
                continue
            subsets[name] = Subset(
                count=int(chosen.sum()),
                chance=float(areas[chosen].double().mean()),
                centre=float((~off_centre[chosen]).double().mean()),
            )
            hits = {key: observed.hits[key][chosen].double() for key in keys}
            leading = _best(hits)
            best[name] = {group: stage for group, (stage, _) in leading.items()}
            if "attention" in leading:
                pair = hits[leading["attention"]] - hits[leading[GRADCAM]]
                over_gradcam[name] = self.shares(pair[:, None])[0]
            estimates = self.shares(torch.stack(list(hits.values()), 1))  # of (n, views)
            for key, estimate in zip(keys, estimates, strict=True):
                rates[key][name] = estimate
        views = tuple(
            View(stage, kind, rates[stage, kind], int(observed.nowhere[stage, kind].sum()))
            for stage, kind in keys
        )
        return Pointing(subsets, views, best, over_gradcam)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def _best(hits: dict[tuple[str, str], Tensor]) -> dict[str, tuple[str, str]]:
    """The key of the map with the most hits, among attention's maps, if any, and among
    Grad-CAM's."""
    groups = {
        "attention": [key for key in hits if key[1] != GRADCAM],
        GRADCAM: [key for key in hits if key[1] == GRADCAM],
    }
    return {
        group: max(keys, key=lambda key: float(hits[key].sum()))
        for group, keys in groups.items()
        if keys
    }

"""Whether maps of the true class find the thing, against the boxes of the data."""

from __future__ import annotations

import torch
from torch import Tensor

from vggviz.evaluation.maps.job import Job, Part, Pictures, Row
from vggviz.metrics.baselines import centre
from vggviz.metrics.boxes import OVERLAPS, accurate, chosen, overlaps
from vggviz.metrics.localisation import box_area, energy, misses_centre, pointing
from vggviz.types import Grid

__all__ = ["TOLERANCE", "localise"]

METRIC = "localisation"
TOLERANCE = 0.03  # of the picture's side: the paper's 15 pixels of pictures of about 500


def localise(job: Job) -> Part:
    """The pointing game, the energy in the box, and MaxBoxAccV2 of every map of the true class.

    The thresholds of MaxBoxAccV2 are chosen on the training pictures' boxes. Beside them a
    Gaussian in the centre, and for pointing and energy chance, which is the area of the box.
    """
    pictures = _boxed(job.pictures)
    if pictures is None:
        return Part((), notes=("the data has no boxes",))
    training = None if job.training is None else _boxed(job.training)
    side = pictures.images.shape[-1]
    views = {**job.views(pictures, pictures.targets), **_middle(pictures)}
    learned = {}
    if training is not None:
        learned = {**job.views(training, training.targets), **_middle(training)}
    assert pictures.boxes is not None
    rows: list[Row] = []
    inside: dict[tuple[str, str], Tensor] = {}
    for view, maps in views.items():
        columns = _points(maps, pictures.boxes, (side, side))
        inside[view] = columns["energy"]
        if view in learned:
            assert training is not None
            assert training.boxes is not None
            thresholds = chosen(overlaps(learned[view], training.boxes, (side, side)))
            fits = accurate(overlaps(maps, pictures.boxes, (side, side)), thresholds).double()
            names = [f"box at {overlap:.0%}" for overlap in OVERLAPS]
            columns |= dict(zip(names, fits.T, strict=True))
            columns["MaxBoxAccV2"] = fits.mean(1)
        rows += job.rows(METRIC, view, columns)
    area = box_area(pictures.boxes, (side, side))
    rows += job.rows(METRIC, ("", "chance"), {"pointing": area, "energy": area})
    view = next((v for v in reversed(views) if v[1] == "gradcam"), next(iter(views)))
    title = f"{view[1]} at {view[0]}, energy in the box"
    shown = job.extremes(METRIC, title, pictures, views[view], inside[view])
    notes = () if learned else ("no training boxes: no thresholds for MaxBoxAccV2",)
    return Part(tuple(rows), tuple(shown), notes)


def _points(maps: Tensor, boxes: Tensor, size: Grid) -> dict[str, Tensor]:
    hits = pointing(maps, boxes, size).double()
    off_centre = misses_centre(boxes, size)
    return {
        "pointing": hits,
        "pointing, tolerant": pointing(maps, boxes, size, TOLERANCE * size[1]).double(),
        "pointing, off-centre": hits.masked_fill(~off_centre, torch.nan),
        "energy": energy(maps, boxes, size),
    }


def _middle(pictures: Pictures) -> dict[tuple[str, str], Tensor]:
    """A Gaussian with a cell in the very middle, so that its peak is there."""
    return {("", "centre"): centre((31, 31)).expand(len(pictures.images), -1, -1)}


def _boxed(pictures: Pictures) -> Pictures | None:
    """The pictures whose box was not cropped away; None where there is none."""
    if pictures.boxes is None:
        return None
    side = pictures.images.shape[-1]
    kept = box_area(pictures.boxes, (side, side)) > 0
    if not bool(kept.any()):
        return None
    names = tuple(name for name, keep in zip(pictures.names, kept.tolist(), strict=True) if keep)
    return Pictures(pictures.images[kept], pictures.targets[kept], pictures.boxes[kept], names)

"""Localisation: maps of the true class against the boxes of the data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from vggviz.evaluation.maps.frames import table_by_map
from vggviz.evaluation.maps.job import Job, MapKey, MapMetric, Part, Row
from vggviz.evaluation.maps.plots import plot_by_stage
from vggviz.evaluation.pictures import Pictures
from vggviz.metrics.baselines import centre
from vggviz.metrics.boxes import OVERLAPS, best_thresholds, box_accuracy, overlaps
from vggviz.metrics.localisation import box_area, energy, misses_centre, pointing
from vggviz.metrics.masks import pixel_average_precision, score_histograms

__all__ = ["LOCALISATION"]

MEASURES = "pointing", "pointing, tolerant", "pointing, off-centre", "energy", "MaxBoxAccV2", "PxAP"
COLUMNS = {name: (name, "") for name in MEASURES}
TOLERANCE = 0.03  # of the picture's side: the paper's 15 pixels of pictures of about 500


def measure(job: Job) -> Part:
    """The pointing game, the energy in the boxes, MaxBoxAccV2, and with masks PxAP, of every map of
    the true class.

    The thresholds of MaxBoxAccV2 are chosen on the training pictures' boxes. Controls are a
    Gaussian in the centre, and chance: the area of the boxes for pointing and energy, that of the
    masks for PxAP.
    """
    pictures = _boxed(job.pictures)
    if pictures is None or pictures.boxes is None:
        return Part((), notes=("the data has no boxes",))
    training = None if job.training is None else _boxed(job.training)
    boxes, size = pictures.boxes, (pictures.images.shape[-2], pictures.images.shape[-1])
    maps_by_key, learned = _maps(job, pictures), {} if training is None else _maps(job, training)
    rows: list[Row] = []
    inside: dict[MapKey, Tensor] = {}
    for key, maps in maps_by_key.items():
        hits, inside[key] = pointing(maps, boxes, size).double(), energy(maps, boxes, size)
        columns = {
            "pointing": hits,
            "pointing, tolerant": pointing(maps, boxes, size, TOLERANCE * size[1]).double(),
            "pointing, off-centre": hits.masked_fill(~misses_centre(boxes, size), torch.nan),
            "energy": inside[key],
        }
        if training is not None and training.boxes is not None and key in learned:
            thresholds = best_thresholds(overlaps(learned[key], training.boxes, size))
            fits = box_accuracy(overlaps(maps, boxes, size), thresholds).double()
            names = [f"box at {overlap:.0%}" for overlap in OVERLAPS]
            columns |= dict(zip(names, fits.T, strict=True))
            columns["MaxBoxAccV2"] = fits.mean(1)
        rows += job.rows(key, columns)
    rows += _pixel_rows(job, pictures, maps_by_key)
    area = box_area(boxes, size)
    rows += job.rows(("", "chance"), {"pointing": area, "energy": area})
    key = next((v for v in reversed(maps_by_key) if v[1] == "gradcam"), next(iter(maps_by_key)))
    title = f"{key[1]} at {key[0]}, energy in the box"
    extremes = job.extremes(title, pictures, maps_by_key[key], inside[key])
    notes = () if learned else ("no training boxes: no thresholds for MaxBoxAccV2",)
    return Part(tuple(rows), extremes, notes)


def _maps(job: Job, pictures: Pictures) -> dict[MapKey, Tensor]:
    """The maps of the true class, and a Gaussian in the centre."""
    middle = centre((31, 31)).expand(len(pictures.images), -1, -1)
    return {**job.maps(pictures, pictures.targets), ("", "centre"): middle}


def _pixel_rows(job: Job, pictures: Pictures, maps_by_key: Mapping[MapKey, Tensor]) -> list[Row]:
    """PxAP of each map, and of chance, on the pictures that show an object of their masks."""
    if pictures.masks is None:
        return []
    shown = (pictures.masks == 1).any(2).any(1)
    if not bool(shown.any()):
        return []
    masks = pictures.masks[shown]
    chance = {("", "chance"): torch.zeros(len(shown), 1, 1)}  # no pixel before another
    return [
        job.pooled_row(key, "PxAP", score_histograms(maps[shown], masks), pixel_average_precision)
        for key, maps in {**maps_by_key, **chance}.items()
    ]


def _boxed(pictures: Pictures) -> Pictures | None:
    """The pictures with a box that was not cropped away; None where there is none."""
    if pictures.boxes is None:
        return None
    there = box_area(pictures.boxes, (1, 1)) > 0
    return pictures.at(there) if bool(there.any()) else None


LOCALISATION = MapMetric(
    measure,
    "Maps of the true class against boxes: pointing, with a tolerance of 3% of the side, on "
    "pictures whose boxes miss the centre; the energy in the boxes; MaxBoxAccV2; PxAP where the "
    "data has masks.",
    partial(table_by_map, columns=COLUMNS),
    partial(plot_by_stage, measure="energy", label="energy in the box"),
    depends_on=("training",),
)

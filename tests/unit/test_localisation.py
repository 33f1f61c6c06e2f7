"""Maps against several boxes and against masks, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("scipy", reason="needs the extra 'train'")
pytest.importorskip("torchmetrics", reason="needs the extra 'train'")

from vggviz.images import Crop
from vggviz.metrics.boxes import THRESHOLDS, overlaps
from vggviz.metrics.localisation import box_area, contains, energy, misses_centre, pointing
from vggviz.metrics.masks import (
    BINS,
    IGNORED,
    crop_mask,
    pixel_average_precision,
    score_histograms,
)
from vggviz.metrics.statistics import bootstrap, bootstrap_pooled

NONE = [0.0, 0, 0, 0]  # fills up the rows of pictures with fewer boxes


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_any_box_of_several_is_a_hit() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 1, 2] = 1  # x 10, y 6 in a picture of 16
    left, around = [0.0, 0, 4, 4], [9.0, 5, 11, 7]
    boxes = torch.tensor([[left, around], [around, NONE], [left, NONE], [left, left]])
    hits = pointing(maps.expand(4, 4, 4), boxes, (16, 16))
    assert hits.tolist() == [True, True, False, False]
    assert contains(boxes, torch.tensor([0.0, 0])).tolist() == [True, False, True, True]
    centred = torch.tensor([[left, [7.0, 7, 9, 9]], [left, around]])
    assert misses_centre(centred, (16, 16)).tolist() == [False, True]


def test_a_row_of_zeros_is_no_box_to_come_near_to() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = 1  # x 2, y 2
    boxes = torch.tensor([[[10.0, 10, 12, 12], NONE]])
    assert not pointing(maps, boxes, (16, 16), 4)[0]
    assert pointing(maps, boxes, (16, 16), 12)[0]  # √(8² + 8²) = 11.3


def test_boxes_that_overlap_count_once() -> None:
    boxes = torch.tensor([[[0.0, 0, 6, 6], [4, 4, 10, 10]], [[0, 0, 6, 6], [1, 1, 2, 2]]])
    assert box_area(boxes, (10, 10)).tolist() == pytest.approx([0.68, 0.36])  # 36 + 36 − 4
    maps = torch.zeros(2, 10, 10)
    maps[:, 5, 5] = 3  # in both boxes of the first
    maps[:, 9, 0] = 1  # in none
    maps[:, 1, 1] = 4
    assert energy(maps, boxes, (10, 10)).tolist() == pytest.approx([7 / 8, 7 / 8])


def test_energy_in_several_boxes_is_that_of_their_pixels() -> None:
    """The twin paints the boxes; edges are at quarters of a cell, which is 4 × 4 pixels."""
    generator = seeded()
    maps = torch.rand(20, 6, 5, generator=generator).double()
    corners = torch.randint(0, 21, (20, 4, 2, 2), generator=generator).sort(2).values.double()
    corners[..., 1] += 4  # pictures are 24 high and 20 wide
    corners[..., 1].clamp_(max=24)
    boxes = corners.flatten(2)  # left, top, right, bottom
    painted = torch.zeros(20, 24, 20).double()
    for picture, some in enumerate(boxes.long().tolist()):
        for left, top, right, bottom in some:
            painted[picture, top:bottom, left:right] = 1
    pixels = maps - maps.amin((1, 2), keepdim=True)
    pixels = pixels.repeat_interleave(4, 1).repeat_interleave(4, 2)
    expected = (pixels * painted).sum((1, 2)) / pixels.sum((1, 2))
    torch.testing.assert_close(energy(maps, boxes, (24, 20)), expected)
    torch.testing.assert_close(box_area(boxes, (24, 20)), painted.mean((1, 2)))


def test_the_box_that_fits_best_counts() -> None:
    maps = torch.zeros(1, 20, 20)
    maps[0, 5:8, 3:8] = 1
    boxes = torch.tensor([[[0.0, 0, 20, 20], [3, 5, 8, 8], NONE]])
    found = overlaps(maps, boxes, (20, 20))
    assert found[0, THRESHOLDS.index(0.8)].item() == 1
    assert overlaps(maps, boxes[:, :1], (20, 20))[0, 20].item() == pytest.approx(15 / 400)


# Masks ---------------------------------------------------------------------------------------


def masked(*rows: str) -> Tensor:
    """One mask from rows of '.', '#' and '?', which is not judged."""
    values = {".": 0, "#": 1, "?": IGNORED}
    return torch.tensor([[[values[one] for one in row] for row in rows]], dtype=torch.uint8)


def test_average_precision_of_pixels_by_hand() -> None:
    # Scores 1, 0.75, 0.5, 0: at each the precision 1, 1/2, 2/3 and 2/4; half the object at 1 and
    # half at 0.5.
    maps = torch.tensor([[[4.0, 3, 2, 0]]])
    counts = score_histograms(maps, masked("#.#."))
    assert counts.shape == (1, 2, BINS)
    assert counts[0, 1].nonzero()[:, 0].tolist() == [500, 1000]
    assert counts[0, 0].nonzero()[:, 0].tolist() == [0, 750]
    assert pixel_average_precision(counts).item() == pytest.approx((1 + 2 / 3) / 2)
    judged = score_histograms(maps, masked("#?#."))  # without the pixel at 0.75
    assert judged.sum() == 3
    assert pixel_average_precision(judged).item() == 1
    upside_down = score_histograms(-maps, masked("#.#."))
    assert pixel_average_precision(upside_down).item() == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_a_map_that_says_nothing_gets_the_share_of_the_object() -> None:
    mask = masked("####", "....", "....", "....")
    for flat in (torch.ones(1, 2, 2), torch.full((1, 2, 2), torch.nan)):
        assert pixel_average_precision(score_histograms(flat, mask)).item() == 0.25
    assert pixel_average_precision(score_histograms(torch.ones(1, 2, 2), mask * 0)).isnan().all()


def test_pixels_of_all_pictures_are_pooled() -> None:
    maps = torch.tensor([[[1.0, 0]], [[1, 0]]])
    masks = torch.cat([masked("#."), masked(".#")])
    counts = score_histograms(maps, masks)
    # Together: at 1 one of two pixels is of the object, at 0 two of four.
    assert pixel_average_precision(counts.sum(0)).item() == 0.5
    assert pixel_average_precision(counts).tolist() == [1, 0.5]
    one = bootstrap_pooled(counts, pixel_average_precision, seeded(), resamples=400)
    assert (one.low, one.value, one.high) == (0.5, 0.5, 1)  # of the first alone, or of the second


def test_pooling_of_means_is_the_bootstrap_of_means() -> None:
    values = torch.rand(30, generator=seeded()).double()
    counts = torch.stack((values, torch.ones(30)), 1)
    pooled = bootstrap_pooled(counts, lambda sums: sums[:, 0] / sums[:, 1], seeded(), resamples=300)
    (plain,) = bootstrap(values[:, None], seeded(), resamples=300)
    assert (pooled.value, pooled.low, pooled.high) == pytest.approx(
        (plain.value, plain.low, plain.high)
    )


def test_masks_go_through_the_crop_at_any_resolution() -> None:
    crop = Crop(left=20, top=0, right=60, bottom=40, width=80, height=40)
    mask = np.zeros((40, 80), dtype=np.bool_)
    mask[10:20, 30:50] = True
    expected = np.zeros((80, 80), dtype=np.bool_)
    expected[20:40, 20:60] = True
    assert np.array_equal(crop_mask(mask, crop, 80), expected)
    assert np.array_equal(crop_mask(mask[::2, ::2], crop, 80), expected)
    assert np.array_equal(crop_mask(mask, crop, 40), expected[::2, ::2])

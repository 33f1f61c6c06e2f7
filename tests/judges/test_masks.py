"""PxAP against scikit-learn's average precision, and COCO's outlines against pycocotools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vggviz.data.masks import draw_masks
from vggviz.images import ImageError
from vggviz.metrics.boxes import unit_maps
from vggviz.metrics.masks import BINS, IGNORED, pixel_average_precision, score_histograms


def test_average_precision_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(5, 7, 6, generator=generator).double()
    masks = torch.randint(0, 3, (5, 28, 24), generator=generator).to(torch.uint8)
    masks[masks == 2] = IGNORED
    ours = pixel_average_precision(score_histograms(maps, masks).sum(0)).item()
    judged = masks != IGNORED
    scores = (unit_maps(maps, (28, 24)) * (BINS - 1)).floor()[judged]
    assert ours == pytest.approx(metrics.average_precision_score(masks[judged], scores), abs=1e-12)
    unbinned = unit_maps(maps, (28, 24))[judged]
    assert ours == pytest.approx(metrics.average_precision_score(masks[judged], unbinned), abs=1e-3)


@pytest.fixture
def coco() -> Any:
    return pytest.importorskip("pycocotools.mask")


def test_run_lengths_are_those_of_pycocotools(coco: Any) -> None:
    generator = np.random.default_rng(0)
    for density in (0, 0.02, 0.5, 1):
        mask = generator.random((37, 51)) < density
        mask[5:30, 10:40] ^= True  # long runs as well
        packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        packed["counts"] = packed["counts"].decode("ascii")
        (drawn,) = draw_masks("1.jpg", [packed], 37, 51).objects
        assert np.array_equal(drawn, mask)
        flat = mask.T.ravel()
        changes = np.flatnonzero(np.diff(flat.astype(int))) + 1
        runs = np.diff([0, *changes, flat.size]).tolist()
        plain = {"counts": [0, *runs] if flat[0] else runs, "size": [37, 51]}
        (drawn,) = draw_masks("1.jpg", [plain], 37, 51).objects
        assert np.array_equal(drawn, mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
def test_polygons_are_those_of_pycocotools_but_for_their_edges(coco: Any) -> None:
    generator = np.random.default_rng(0)
    overlap: list[float] = []
    for _ in range(20):
        angles = np.sort(generator.uniform(0, 2 * np.pi, 12))
        radius = generator.uniform(20, 60, 12)
        centre = generator.uniform(20, 100, 2)  # some go beyond the picture
        points = np.stack((np.cos(angles), np.sin(angles)), 1) * radius[:, None] + centre
        polygons = [points.ravel().tolist(), [2, 2, 12, 2, 12, 9, 2, 9]]
        (drawn,) = draw_masks("1.jpg", [polygons], 110, 120).objects
        theirs = coco.decode(coco.merge(coco.frPyObjects(polygons, 110, 120))).astype(bool)
        overlap.append((drawn & theirs).sum() / (drawn | theirs).sum())
    assert min(overlap) > 0.95
    assert np.mean(overlap) > 0.98


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3]],
        [["a", "b"]],
        "polygon",
        7,
        {"counts": [3, 4], "size": [37, 51]},
        {"counts": [37 * 51], "size": [51, 37]},
        {"counts": "ü", "size": [37, 51]},
        {"size": [37, 51]},
    ],
)
def test_other_outlines_are_refused_by_the_name_of_the_picture(segmentation: Any) -> None:
    with pytest.raises(ImageError, match=r"cat\.jpg has a segmentation that is neither"):
        draw_masks("cat.jpg", [segmentation], 37, 51)

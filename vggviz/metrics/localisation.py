"""Whether a map points at the thing: the pointing game, and how much of a map lies in a box."""

from __future__ import annotations

import torch
from torch import Tensor

from vggviz.images import Crop
from vggviz.types import Grid

__all__ = [
    "box_area",
    "contains",
    "crop_box",
    "energy",
    "misses_centre",
    "peak",
    "pointing",
]


def peak(maps: Tensor, size: Grid) -> Tensor:
    """Where each map is largest: (B, h, w) over a picture of `size` (H, W) → (B, 2), x and y.

    In pixels, 0 being the left or upper edge of the picture: the centre of the largest cell,
    x = (column + 1/2) · W / w, y = (row + 1/2) · H / h; of equal cells the first in reading
    order counts. This is the maximum of the bilinear upsampling (align_corners=False) as a
    function of the plane, which is nowhere larger than at a cell's centre. Departure: the usual
    code takes the largest pixel of an upsampled raster. Where the factor is even no pixel lies
    at a cell's centre, which lowers every peak but those at the border, where the map stays the
    same outwards, and of such a plateau the first pixel is the one in the upper left.

    A map that is the same everywhere, or holds a NaN or an infinity, points nowhere: x and y are
    NaN, which lie in no box.
    """
    height, width = maps.shape[-2:]
    flat = maps.flatten(1)  # (B, h·w)
    high = flat.amax(1)
    index = (flat == high[:, None]).int().argmax(1)  # argmax gives the first of equals
    x = (index % width + 0.5) * (size[1] / width)
    y = (index // width + 0.5) * (size[0] / height)
    nowhere = ~flat.isfinite().all(1) | (flat.amin(1) == high)
    return torch.stack((x, y), 1).masked_fill(nowhere[:, None], float("nan"))  # (B, 2)


def contains(boxes: Tensor, points: Tensor) -> Tensor:
    """Whether left ≤ x < right and top ≤ y < bottom in any box of a picture: (B, k, 4), points
    (B, 2) or (2,) → bool (B,)."""
    x, y = points[..., None, :].unbind(-1)
    left, top, right, bottom = boxes.unbind(-1)
    return ((left <= x) & (x < right) & (top <= y) & (y < bottom)).any(-1)


def pointing(maps: Tensor, boxes: Tensor, size: Grid, tolerance: float = 0) -> Tensor:
    """Whether each map's peak lies in one of its boxes: (B, h, w), (B, k, 4) → bool (B,).

    `boxes` are those of the picture's objects of one class: left, top, right, bottom in pixels of
    the picture of `size` (H, W), right and bottom exclusive; rows of zeros are none. A peak that
    misses a box by at most `tolerance` pixels is a hit too. A map that points nowhere (see `peak`)
    is never one.

    Zhang et al. 2018, 'Top-down Neural Attention by Excitation Backprop' (ECCV 2016), section
    5.1. Departures: the hits are averaged over pictures, where the paper averages the rates of the
    classes; no tolerance by default, where the paper takes 15 pixels of pictures of about 500.
    """
    points = peak(maps, size)
    hit = contains(boxes, points)
    if tolerance <= 0:
        return hit
    points = points[:, None]
    outside = (boxes[..., :2] - points).clamp(min=0) + (points - boxes[..., 2:]).clamp(min=0)
    near = torch.linalg.vector_norm(outside, dim=-1) <= tolerance
    return hit | (near & _has_area(boxes)).any(1)


def _has_area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)


def box_area(boxes: Tensor, size: Grid) -> Tensor:
    """The share of the picture that its boxes cover together, in [0, 1]: (B, k, 4) → (B,).

    It is the chance that a point drawn anywhere in the picture hits a box.
    """
    x, y, inside = _tiles(boxes)
    return torch.einsum("bi,bij,bj->b", y.diff(dim=1), inside, x.diff(dim=1)) / (size[0] * size[1])


def energy(maps: Tensor, boxes: Tensor, size: Grid) -> Tensor:
    """The share of each map that lies in its boxes, in [0, 1]: (B, h, w), (B, k, 4) → (B,).

    Σ inside / Σ of the map minus its smallest value, a cell that a box cuts counting for the part
    inside, and what lies in several boxes once. `boxes` are in pixels of the picture of `size`
    (H, W), as for `pointing`; a map of random values gets `box_area`. NaN for a map that is the
    same everywhere, or holds a NaN or an infinity.

    Wang et al. 2020, 'Score-CAM', section 4.2 (the energy-based pointing game). Departure: cells
    are cut by area instead of enlarging the map to pixels.
    """
    above = maps - maps.amin((1, 2), keepdim=True)
    height, width = maps.shape[-2:]
    x, y, inside = _tiles(boxes)
    across = _covered(x * width / size[1], width)
    down = _covered(y * height / size[0], height)
    part = torch.einsum("bij,bjw,bhw,bih->b", inside, across, above, down)
    total = above.sum((1, 2))
    known = above.flatten(1).isfinite().all(1) & (total > 0)
    return torch.where(known, part / torch.where(known, total, 1), torch.nan)


def _tiles(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The rectangles into which the edges of all boxes (B, k, 4) cut the plane: edges x and y
    (B, 2k), sorted, and 1 for each rectangle inside a box, else 0 (B, 2k − 1, 2k − 1)."""
    edges = (boxes[..., 0::2], boxes[..., 1::2])  # x, y: (B, k, 2) each
    sorted_edges = [pair.flatten(1).sort(1).values for pair in edges]
    within = [
        (pair[..., :1] < line[:, None, 1:]) & (line[:, None, :-1] < pair[..., 1:])
        for pair, line in zip(edges, sorted_edges, strict=True)
    ]  # which intervals between edges a box covers: (B, k, 2k − 1) each
    x, y = within
    inside = (y[..., :, None] & x[..., None, :]).any(1)
    return sorted_edges[0], sorted_edges[1], inside.to(boxes.dtype)


def _covered(edges: Tensor, cells: int) -> Tensor:
    """How much of each of `cells` of width 1 lies between neighbouring edges:
    (B, m) → (B, m − 1, cells)."""
    cell = torch.arange(cells, device=edges.device)
    over = torch.minimum(edges[:, 1:, None], cell + 1) - torch.maximum(edges[:, :-1, None], cell)
    return over.clamp(min=0)


def misses_centre(boxes: Tensor, size: Grid) -> Tensor:
    """Whether the middle of the picture of `size` (H, W) lies outside all its boxes: (B, k, 4) →
    bool (B,)."""
    return ~contains(boxes, boxes.new_tensor([size[1] / 2, size[0] / 2]))


def crop_box(boxes: Tensor, crop: Crop, size: int) -> Tensor:
    """Boxes (k, 4), or one (4,), in pixels of the upright original, in pixels of the network's
    square of `size`.

    x' = (x − crop.left) · size / (crop.right − crop.left), alike for y, clipped to [0, size]. A
    box that lies outside the crop comes out with no area.
    """
    start = boxes.new_tensor([crop.left, crop.top] * 2)
    sides = boxes.new_tensor([crop.right - crop.left, crop.bottom - crop.top] * 2)
    return ((boxes - start) / sides * size).clamp(0, size)

"""Random views of a batch of small pictures, computed for the whole batch at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(unit: Tensor) -> Tensor:
    """(x − mean) / std of values in [0, 1], (B, 3, H, W), channels last."""
    mean, std = (unit.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((unit - mean) / std).contiguous(memory_format=torch.channels_last)


def plain(pixels: Tensor, size: int) -> Tensor:
    """The pictures as they are, resized: uint8 (B, 3, H, W) → normalised (B, 3, size, size)."""
    unit = F.interpolate(pixels.float() / 255, (size, size), mode="bilinear", antialias=True)
    return normalise(unit.clamp(0, 1))


def augment(pixels: Tensor, size: int, min_scale: float, generator: torch.Generator) -> Tensor:
    """Random views: uint8 (B, 3, H, W) → normalised (B, 3, size, size).

    Each picture has its own sharpness, colours, crop, flip, and sometimes a rotation or a border of
    the mean colour. Sharpness varies since a visitor's photographs, which are resized with a
    low-pass filter, are softer than Tiny ImageNet's.
    """
    unit = recolour(vary_sharpness(pixels.float() / 255, generator), generator)
    twice = 2 * size if size < 48 else size  # two samples a pixel: less aliasing of small views
    theta = random_affine(len(pixels), min_scale, generator)
    grid = F.affine_grid(theta, [len(pixels), 3, twice, twice], align_corners=False)
    view = F.grid_sample(normalise(unit), grid, align_corners=False)  # outside 0: the mean colour
    if twice > size:
        view = F.avg_pool2d(view, 2)
    return view.contiguous(memory_format=torch.channels_last)


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """(count,) numbers in [low, high)."""
    return torch.rand(count, generator=generator) * (high - low) + low


def vary_sharpness(unit: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the pictures blurred: x + a·(blur(x) − x), a in [0, 1], by two passes of (1, 2, 1)/4
    in each direction; a quarter slightly sharpened, a in [−0.3, 0]; the rest unchanged."""
    count = len(unit)
    kind = torch.rand(count, generator=generator)
    amount = torch.where(
        kind < 0.5, uniform(count, 0, 1, generator), uniform(count, -0.3, 0, generator)
    )
    amount = torch.where(kind < 0.75, amount, 0.0)[:, None, None, None]
    line = unit.new_tensor([1, 4, 6, 4, 1]) / 16
    kernel = torch.outer(line, line).expand(3, 1, 5, 5)
    blurred = F.conv2d(F.pad(unit, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)
    return (unit + amount * (blurred - unit)).clamp(0, 1)


def recolour(unit: Tensor, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation by random factors; one picture in twenty grey."""
    count = len(unit)
    brightness, contrast, saturation = (
        uniform(count, 0.7, 1.3, generator)[:, None, None, None] for _ in range(3)
    )
    is_grey = torch.rand(count, generator=generator)[:, None, None, None] < 0.05
    saturation = torch.where(is_grey, 0.0, saturation)
    unit = unit * brightness
    grey = (unit * unit.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    unit = grey + saturation * (unit - grey)
    middle = grey.mean((2, 3), keepdim=True)
    return (middle + contrast * (unit - middle)).clamp(0, 1)


def random_affine(count: int, min_scale: float, generator: torch.Generator) -> Tensor:
    """Affine maps from a view to its picture, (count, 2, 3), for `F.affine_grid`.

    Views have `min_scale` to 1 of the picture's area and an aspect ratio from 3/4 to 4/3, inside
    the picture; half of them are mirrored. One in seven shows the picture at 1 to 1/1.5 of the
    view's side instead, and three in ten are turned by up to 15°.
    """
    area = uniform(count, min_scale, 1, generator)
    ratio = uniform(count, math.log(3 / 4), math.log(4 / 3), generator).exp()
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    x = uniform(count, -1, 1, generator) * (1 - width)
    y = uniform(count, -1, 1, generator) * (1 - height)
    far = torch.rand(count, generator=generator) < 1 / 7
    side = uniform(count, 1, 1.5, generator)
    shift_x, shift_y = (uniform(count, -1, 1, generator) * (side - 1) for _ in range(2))
    width, height = torch.where(far, side, width), torch.where(far, side, height)
    x, y = torch.where(far, shift_x, x), torch.where(far, shift_y, y)
    angle = uniform(count, -math.pi / 12, math.pi / 12, generator)
    angle = torch.where(torch.rand(count, generator=generator) < 0.3, angle, 0.0)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cosine, sine = angle.cos(), angle.sin()
    rows = [mirror * width * cosine, -height * sine, x, mirror * width * sine, height * cosine, y]
    return torch.stack(rows, 1).view(count, 2, 3)

"""Painted weights as a short text, for links and for strokes that travel to a server."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from vggviz.types import Grid, InputError

__all__ = ["decode", "encode", "read_mask"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"  # as in base64url
TOP = len(LETTERS) - 1


def encode(mask: Tensor) -> str:
    """The mask, values in [0, 1], as a text: a letter for each value, row by row, in 64 levels from
    'A' for 0 to '_' for 1."""
    return "".join(LETTERS[level] for level in (mask.flatten() * TOP).round().int().tolist())


def decode(code: str, size: Grid) -> Tensor:
    """The mask (h, w) of a text by `encode`. Raises InputError for another length or letter."""
    height, width = size
    if len(code) != height * width or not re.fullmatch(r"[\w-]+", code, re.ASCII):
        raise InputError("paint_code", height=height, width=width, count=height * width)
    return torch.tensor([LETTERS.index(letter) for letter in code]).reshape(size) / TOP


def read_mask(values: Any, size: Grid) -> Tensor:
    """The mask (h, w) that somebody sent: a text by `encode`, or h rows of w numbers from 0 to 1.

    A single row may be sent as a plain list of its numbers. Raises InputError for anything else.
    """
    if isinstance(values, str):
        return decode(values, size)
    height, width = size
    rows = [values] if height == 1 and _is_row(values, width) else values
    if not (isinstance(rows, list) and len(rows) == height):
        raise InputError("paint_numbers", height=height, width=width)
    if not all(_is_row(row, width) for row in rows):
        raise InputError("paint_numbers", height=height, width=width)
    return torch.tensor(rows, dtype=torch.float32)


def _is_row(row: Any, width: int) -> bool:
    """Whether this is a list of `width` numbers from 0 to 1."""
    return (
        isinstance(row, list)
        and len(row) == width
        and all(type(one) in (int, float) and 0 <= one <= 1 for one in row)
    )

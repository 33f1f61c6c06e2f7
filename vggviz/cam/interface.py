"""Checks on what `cams` is given: a model's logits, target classes, the layers' outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vggviz.hooks.capture import Trace, described
from vggviz.networks.outputs import output_members
from vggviz.types import Grid, InputError

__all__ = ["Targets", "check_maps", "check_outputs", "class_indices", "logits_of"]

Targets: TypeAlias = (
    Tensor
    | int
    | Sequence[int | None]
    | Sequence[Sequence[int]]
    | Callable[[Tensor], Tensor]
    | None
)


def logits_of(output: object, batch: int) -> Tensor:
    """The logits (B, K) in what a network returned for `batch` images.

    A tensor itself; else the key or attribute `logits`; else the only (B, K) tensor among the
    values of a mapping or the members of a tuple or list.
    Raises ValueError where there is none, or more than one.
    """

    def fits(value: object) -> bool:
        return isinstance(value, Tensor) and value.ndim == 2 and value.shape[0] == batch

    found: list[Any] = list(
        {id(value): value for value in output_members(output) if fits(value)}.values()
    )
    if len(found) == 1:
        logits: Tensor = found[0]
        return logits
    hint = "" if len(found) < 2 else ": which of these are the logits can't be told"
    raise ValueError(f"the model must return logits (B, K), not {described(output)}{hint}")


def class_indices(targets: Targets, logits: Tensor) -> Tensor:
    """The classes to explain as indices (T, B), for logits (B, K).

    `targets` are one index, indices (T,) for all images, or (T, B) of each picture's own; None,
    also as one of several, is each image's predicted class. What a function of the logits returns,
    (T, B), is not checked: it may be traced.
    Raises ValueError for what is no class, for another shape, and for one-hot targets.
    """
    if callable(targets):
        return targets(logits)
    batch, classes = logits.shape
    predicted = logits.argmax(1)
    rows: Any = (targets,) if targets is None or isinstance(targets, int) else targets
    if isinstance(rows, tuple | list) and None in rows:
        rows = torch.stack([predicted if row is None else predicted * 0 + row for row in rows])
    try:
        given = torch.as_tensor(rows, device=logits.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"targets must be class indices, not {targets!r}") from error
    shape = tuple(given.shape)
    if given.ndim < 2:
        given = given.reshape(-1, 1).expand(-1, batch)
    if _one_hot(given, batch, classes):
        raise ValueError(
            f"targets {shape} look one-hot: give class indices, such as onehot.argmax(1)[None]"
        )
    if given.is_floating_point() or given.is_complex() or given.dtype is torch.bool:
        raise ValueError(f"targets must be class indices, not {given.dtype}")
    if given.shape[1:] != (batch,) or len(given) == 0:
        raise ValueError(f"targets must be (T,) or (T, {batch}), not {shape}")
    if int(given.min()) < 0 or int(given.max()) >= classes:
        raise ValueError(f"a target must be a class from 0 to {classes - 1}")
    return given.long()


def _one_hot(given: Tensor, batch: int, classes: int) -> bool:
    """Whether the targets are (B, K) rows of zeros with a single one."""
    return (
        tuple(given.shape) == (batch, classes)
        and bool(((given == 0) | (given == 1)).all())
        and bool((given != 0).sum(1).eq(1).all())
    )


def check_outputs(trace: Trace, layers: Sequence[str]) -> None:
    """Raise ValueError for a layer that has no output in the trace."""
    for layer in layers:
        if layer not in trace.outputs:
            raise InputError("layer_unused", layer=layer)


def check_maps(trace: Trace, layers: Sequence[str], images: Tensor) -> None:
    """Raise ValueError for a layer whose output cannot be (B, C, h, w).

    Images are (B, 3, H, W). An output (B, a, b, c) is taken for (B, h, w, C) where a : b is H : W
    and b : c is not, to within one row or column.
    """
    size = (images.shape[-2], images.shape[-1])
    for layer in layers:
        shape = tuple(trace.outputs[layer].shape)
        if len(shape) != 4 or shape[0] != images.shape[0]:
            raise InputError("layer_no_map", layer=layer, shape=str(shape))
        first, last = shape[1:3], shape[2:4]
        within = first[0] <= size[0] and first[1] <= size[1]
        if within and _same_aspect(first, size) and not _same_aspect(last, size):
            raise InputError(
                "layer_channels_last",
                layer=layer,
                shape=str(shape),
                height=size[0],
                width=size[1],
            )


def _same_aspect(grid: Sequence[int], size: Grid) -> bool:
    """Whether h : w can be H : W, where h and w were rounded to whole rows and columns."""
    (rows, columns), (height, width) = grid, size
    if height == width:
        return rows == columns
    flatter = (rows - 1) * width < (columns + 1) * height
    steeper = (rows + 1) * width > (columns - 1) * height
    return flatter and steeper

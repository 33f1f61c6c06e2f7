"""Adapters: small files that hold what differs from a backbone, which is checked and filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vggviz.weights.bundle import bundled_file
from vggviz.weights.card import Backbone, Card, WeightsError
from vggviz.weights.stock import STOCK, stock_state
from vggviz.weights.tensors import fingerprint, half, read_card, read_tensors

__all__ = ["DEEPEST", "as_written", "differing", "read", "read_backbone"]

DEEPEST = 4  # backbones under one another


def read_backbone(weights: str | Path, attention: str = "none") -> Backbone:
    """Name weights as the backbone of adapters: 'tiny50' with an attention, 'imagenet',
    'imagenet_bn' or a .safetensors file, which must then lie beside the adapter.

    Raises WeightsError where they cannot be had, ValueError for what is no backbone.
    """
    name = str(weights)
    if name.endswith(".safetensors"):
        file = Path(name)
        return Backbone(file.name, read_card(file).config.attention, fingerprint(file))
    named = Backbone(name, attention, "0" * 64)  # says what is no backbone before anything is read
    known = stock_state(name)[1] if name in STOCK else fingerprint(bundled_file(attention))
    return replace(named, fingerprint=known)


def read(
    file: Path,
    name: str,
    folder: Path | None,
    above: tuple[Path, ...] = (),
    known: str = "",
) -> tuple[dict[str, Tensor], Card]:
    """All tensors of a weights file, those of its backbone filled in, and its card, named `name`.

    A backbone that is a file lies in `folder`; None where there is no such place. `above` are the
    files that stand on this one, `known` its fingerprint, if it was computed before.

    Raises WeightsError where the file or its backbone is missing, broken, another copy or a misfit.
    """
    card = replace(read_card(file), weights=name)
    card = replace(card, fingerprint=known or fingerprint(file))
    base: dict[str, Tensor] = {}
    if card.backbone is not None:
        base = _underneath(card.backbone, folder, (*above, file.resolve()), file.name)
    return read_tensors(file, card, base), card


def differing(state: dict[str, Tensor], under: Backbone, file: Path) -> dict[str, Tensor]:
    """The tensors of `state`, as they are written, that `under` lacks or holds with other values.

    `file` is where they will be written; its folder is that of the backbone. Raises WeightsError.
    """
    base = _underneath(under, file.parent, (file.resolve(),), file.name)
    return {key: value for key, value in state.items() if not _same(value, base.get(key))}


def as_written(
    state: Mapping[str, Tensor], under: Backbone | None, file: Path
) -> dict[str, Tensor]:
    """What `state` will be, floats in float32, when the weights file that `save` makes of it is
    loaded again: rounded to half precision, or the backbone's own where they agree to that.

    `file` is as for `differing`. Raises WeightsError.
    """
    base = {} if under is None else _underneath(under, file.parent, (file.resolve(),), file.name)
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        written = half(value)
        kept = base[key].cpu() if _same(written, base.get(key)) else written
        found[key] = kept.float() if kept.is_floating_point() else kept
    return found


def _same(written: Tensor, base: Tensor | None) -> bool:
    return base is not None and torch.equal(written, half(base))


def _underneath(
    under: Backbone, folder: Path | None, above: tuple[Path, ...], name: str
) -> dict[str, Tensor]:
    """The tensors of the backbone of `name`, after its fingerprint was checked."""
    if len(above) > DEEPEST:
        raise WeightsError(f"{above[0].name} stands on more than {DEEPEST} backbones")
    if under.weights in STOCK:
        state, known = stock_state(under.weights)
        _check(under, known, name)
        return state
    file = _file(under, folder, name)
    place = file.resolve()
    if place in above:
        chain = " on ".join(path.name for path in (*above, place))
        raise WeightsError(f"adapters stand on one another in a circle: {chain}")
    known = fingerprint(file)
    _check(under, known, name)
    return read(file, under.weights, file.parent, above, known)[0]


def _file(under: Backbone, folder: Path | None, name: str) -> Path:
    if not under.is_file:
        try:
            return bundled_file(under.attention)
        except WeightsError as error:
            raise WeightsError("backbone_not_bundled", name=name, backbone=under) from error
    if folder is None:
        raise WeightsError(
            f"{name} needs the backbone {under.weights}, a file beside it, and on the Hub there is "
            "none"
        )
    file = folder / under.weights
    if not file.is_file():
        raise WeightsError(
            f"{name} needs its backbone {under.weights}: put a copy into {folder.resolve()}"
        )
    if file.resolve().parent != folder.resolve():
        raise WeightsError(
            f"the backbone {under.weights} is a link that leads out of {folder.resolve()}: put a "
            "copy there"
        )
    return file


def _check(under: Backbone, known: str, name: str) -> None:
    if known != under.fingerprint:
        own, here = under.fingerprint[:12], known[:12]
        raise WeightsError("other_backbone", name=name, backbone=under, own=own, here=here)

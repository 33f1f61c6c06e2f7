"""Adapters: weights files that hold only the tensors that differ from a backbone's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vggviz.weights.bundle import bundled_file
from vggviz.weights.card import Backbone, Card, WeightsError
from vggviz.weights.stock import STOCK, stock_state
from vggviz.weights.tensors import fingerprint, read_card, read_tensors, to_half

__all__ = ["as_written", "difference", "read", "read_backbone"]


def read_backbone(weights: str | Path, attention: str = "none") -> Backbone:
    """The backbone for adapters on `weights`: bundled ones with an attention, a name of ImageNet
    weights, or a .safetensors file beside the adapter. Of a file that is itself an adapter it is
    that file's own backbone.

    Raises WeightsError where the weights are missing, ValueError for what is no backbone.
    """
    name = str(weights)
    if name.endswith(".safetensors"):
        file = Path(name)
        card = read_card(file)
        return card.backbone or Backbone(file.name, card.config.attention, fingerprint(file))
    backbone = Backbone(name, attention, "0" * 64)  # refuses a wrong name before anything is read
    digest = stock_state(name)[1] if name in STOCK else fingerprint(bundled_file(attention))
    return replace(backbone, fingerprint=digest)


def read(file: Path, name: str, folder: Path | None) -> tuple[dict[str, Tensor], Card]:
    """The state dict of a weights file, with its backbone's tensors filled in, and its card, whose
    `weights` becomes `name`.

    A backbone that is a file is looked for in `folder`, None for no such folder. Raises
    WeightsError where the file or its backbone is missing, damaged, another copy or does not fit.
    """
    card = replace(read_card(file), weights=name, fingerprint=fingerprint(file))
    base = {} if card.backbone is None else _backbone_state(card.backbone, folder, file)
    return read_tensors(file, card, base), card


def difference(state: Mapping[str, Tensor], backbone: Backbone, file: Path) -> dict[str, Tensor]:
    """The tensors of `state`, in half precision, that differ from the backbone's or that it lacks.

    `file` is the adapter that will be written; a backbone that is a file lies beside it. Raises
    WeightsError as `read` does.
    """
    base = _backbone_state(backbone, file.parent, file)
    return {key: value for key, value in state.items() if not _equal(value, base.get(key))}


def as_written(
    state: Mapping[str, Tensor], backbone: Backbone | None, file: Path
) -> dict[str, Tensor]:
    """The state dict that loading gives after `save_network` wrote `state` to `file`: floats are
    float32, rounded to half precision, or the backbone's own where they round to the same.

    Raises WeightsError as `read` does.
    """
    base = {} if backbone is None else _backbone_state(backbone, file.parent, file)
    stored = {key: to_half(value) for key, value in state.items()}
    stored |= {key: base[key].cpu() for key in state if _equal(stored[key], base.get(key))}
    return {
        key: value.float() if value.is_floating_point() else value for key, value in stored.items()
    }


def _equal(rounded: Tensor, base: Tensor | None) -> bool:
    return base is not None and torch.equal(rounded, to_half(base))


def _backbone_state(backbone: Backbone, folder: Path | None, adapter: Path) -> dict[str, Tensor]:
    """The state dict of the backbone of `adapter`, its fingerprint checked."""
    if backbone.weights in STOCK:
        state, digest = stock_state(backbone.weights, backbone.fingerprint)
    else:
        file = _backbone_file(backbone, folder, adapter)
        state, card = read(file, backbone.weights, None)
        digest = card.fingerprint
    if digest != backbone.fingerprint:
        values = {"own": backbone.fingerprint[:12], "here": digest[:12]}
        raise WeightsError("other_backbone", name=adapter.name, backbone=backbone, **values)
    return state


def _backbone_file(backbone: Backbone, folder: Path | None, adapter: Path) -> Path:
    """The bundled file, or the complete weights file in `folder`."""
    if not backbone.is_file:
        try:
            return bundled_file(backbone.attention)
        except WeightsError as error:
            name = adapter.name
            raise WeightsError("backbone_not_bundled", name=name, backbone=backbone) from error
    named = {"name": adapter.name, "backbone": backbone.weights}
    if folder is None:
        raise WeightsError("backbone_not_on_hub", **named)
    file = folder / backbone.weights
    if not file.is_file():
        raise WeightsError("no_backbone", **named, folder=folder.resolve())
    if file.resolve().parent != folder.resolve():
        raise WeightsError("backbone_link", backbone=backbone.weights, folder=folder.resolve())
    if file.resolve() == adapter.resolve():
        raise WeightsError("adapter_on_itself", name=adapter.name)
    if read_card(file).backbone is not None:
        raise WeightsError("adapter_on_adapter", **named)
    return file

"""The networks that a host offers, one of them loaded before the first visitor comes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from vggviz.app.networks import Networks
from vggviz.attention import ATTENTION
from vggviz.explainer import Explainer
from vggviz.server.settings import SettingsError, variable
from vggviz.weights import STOCK, WeightsError, read_card

__all__ = ["load_networks"]

log = logging.getLogger(__name__)

Load: TypeAlias = Callable[[str, str], Explainer]


def load_networks(
    preload: str,
    load: Load = Explainer.load,
    seconds: float = math.inf,
    device: str | torch.device = "cpu",
    named: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> tuple[Networks, str]:
    """The page's networks, `preload` first and loaded, and a notice for visitors, '' for none.

    `preload` is weights by name, or a .safetensors file, which goes by its name and never by its
    path. Where weights by name can't be loaded the bundled networks stand alone, and the notice
    says so. One request may use a network for `seconds`. `named` networks come before all others
    and are, like visitors' own, on `device`: see `Networks`. Raises SettingsError for an unknown
    name and for a file that can't be used, NetworkError for a named network that can't be had.
    """
    bundled = Networks.bundled().choices
    networks = partial(Networks, load=load, seconds=seconds, named=named, device=device)
    if not preload:
        return networks(bundled), ""
    is_name = preload in STOCK or preload in bundled
    file = Path(preload)
    if not (is_name or file.exists() or file.suffix == ".safetensors"):
        known = ", ".join(dict.fromkeys((*bundled, *STOCK)))
        raise SettingsError(
            f"{variable('preload')} must be one of {known}, or a .safetensors file, not {preload!r}"
        )

    def load_by_name(weights: str, attention: str) -> Explainer:
        # The absolute path, since replicas run in other folders.
        return load(str(file.absolute()) if weights == file.name else weights, attention)

    try:
        if is_name:
            types = bundled.get(preload) or tuple(dict.fromkeys(("cbam", "none", *ATTENTION)))
            found = networks({preload: types, **{k: v for k, v in bundled.items() if k != preload}})
        else:
            card = read_card(file)
            preload, types = file.name, (card.config.attention,)
            unmeasured = (preload,) if card.unmeasured else ()
            found = networks({preload: types, **bundled}, load=load_by_name, unmeasured=unmeasured)
        found.get(preload, types[0])
    except WeightsError as error:
        if not is_name:
            raise SettingsError(str(error)) from error
        fallback = next(iter(bundled))
        fields = {"preload": preload, "instead": fallback, "reason": str(error)}
        log.warning("%(preload)s could not be loaded: %(reason)s", fields, extra={"fields": fields})
        sentence = f"The network {preload} could not be loaded just now: this is {fallback}."
        return networks(bundled), sentence
    return found, ""

"""The networks that a host offers, one of them loaded before the first visitor comes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from vggviz.app.networks import Networks
from vggviz.attention import ATTENTION
from vggviz.explainer import Explainer
from vggviz.server.settings import SettingsError, variable
from vggviz.weights import STOCK, WeightsError, read_card

__all__ = ["offered"]

log = logging.getLogger(__name__)

Load: TypeAlias = Callable[[str, str], Explainer]


def offered(
    preload: str,
    load: Load = Explainer.load,
    seconds: float = math.inf,
) -> tuple[Networks, str]:
    """The page's networks with `preload` first and loaded, and a notice, '' where all went well.
    One request may use them for `seconds`.

    Where weights by name can't be had the bundled networks stand alone, and the notice says so.
    `preload` may also be a .safetensors file; visitors see its name and never its path. Raises
    SettingsError for weights that have no such name, and for a file that can't be used.
    """
    bundled, networks = Networks.bundled().choices, partial(Networks, load=load, seconds=seconds)
    if preload and preload not in (*STOCK, *bundled):
        return _with_file(preload, bundled, load, seconds), ""
    if not preload:
        return networks(bundled), ""
    types = bundled.get(preload, ("cbam", *(key for key in ("none", *ATTENTION) if key != "cbam")))
    first = networks({preload: types, **{k: v for k, v in bundled.items() if k != preload}})
    try:
        first.get(preload, types[0])
    except WeightsError as error:
        fallback = next(iter(bundled))
        told = {"preload": preload, "instead": fallback, "reason": str(error)}
        log.warning("%(preload)s could not be loaded: %(reason)s", told, extra={"fields": told})
        sentence = f"The network {preload} could not be loaded just now: this is {fallback}."
        return networks(bundled), sentence
    return first, ""


def _with_file(
    path: str, bundled: Mapping[str, Sequence[str]], load: Load, seconds: float
) -> Networks:
    """The bundled networks behind that of a weights file, which goes by the file's name."""
    file = Path(path)
    if not file.exists() and file.suffix != ".safetensors":
        known = ", ".join((*bundled, *(name for name in STOCK if name not in bundled)))
        raise SettingsError(
            f"{variable('preload')} must be one of {known}, or a .safetensors file, not {path!r}"
        )

    def load_by_name(weights: str, attention: str) -> Explainer:
        # Replicas run in other folders.
        return load(str(file.absolute()) if weights == file.name else weights, attention)

    try:
        attention = read_card(file).config.attention
        networks = Networks({file.name: (attention,), **bundled}, load_by_name, seconds=seconds)
        networks.get(file.name, attention)
    except WeightsError as error:
        raise SettingsError(str(error)) from error
    return networks

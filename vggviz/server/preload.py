"""The networks that a host offers, one of them loaded before the first visitor comes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial

from vggviz.app.networks import Networks
from vggviz.attention import ATTENTION
from vggviz.explainer import Explainer
from vggviz.server.settings import SettingsError, variable
from vggviz.weights import STOCK, WeightsError

__all__ = ["offered"]

log = logging.getLogger(__name__)


def offered(
    preload: str,
    load: Callable[[str, str], Explainer] = Explainer.load,
    seconds: float = math.inf,
) -> tuple[Networks, str]:
    """The page's networks with `preload` first and loaded, and a notice, '' where all went well.
    One request may use them for `seconds`.

    Where its weights can't be had the bundled networks stand alone, and the notice says so.
    Raises SettingsError for weights that have no such name.
    """
    bundled, networks = Networks.bundled().choices, partial(Networks, load=load, seconds=seconds)
    if preload and preload not in (*STOCK, *bundled):
        known = ", ".join((*bundled, *STOCK))
        raise SettingsError(f"{variable('preload')} must be one of {known}, not {preload!r}")
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

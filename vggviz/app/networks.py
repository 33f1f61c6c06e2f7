"""The networks of one page: those that all its users share, and those of one session."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from types import MappingProxyType
from typing import TypeAlias
from weakref import WeakValueDictionary

from vggviz.app.own import OwnNetwork
from vggviz.attention import ATTENTION
from vggviz.cache import Cache
from vggviz.explainer import Explainer
from vggviz.weights import STOCK, WeightsError, bundled_types, stock_file

__all__ = ["NO_NETWORKS", "Networks", "OwnNetworks"]

OwnNetworks: TypeAlias = Mapping[str, OwnNetwork]
"""A session's own networks, by fingerprint."""
NO_NETWORKS: OwnNetworks = MappingProxyType({})


class Networks:
    """The networks of one page, loaded when first used and then shared by all visitors.

    `choices` are the attention types by weights, the default first. Own networks are loaded beside
    them, by their fingerprint, for the sessions that have them. At most `max_parameters` stay
    loaded beside the latest network's; the least recently used go first. `cache` holds results and
    explanations by content, in `cache_bytes`. One request may use the networks for `seconds`. Safe
    to share between threads.
    """

    def __init__(
        self,
        choices: Mapping[str, Sequence[str]],
        load: Callable[[str, str], Explainer] = Explainer.load,
        max_parameters: int = 150_000_000,
        cache_bytes: int = 256 << 20,
        seconds: float = math.inf,
    ) -> None:
        self.choices = {weights: tuple(types) for weights, types in choices.items()}
        self._load = load
        self._max_parameters = max_parameters
        self.cache = Cache(cache_bytes)
        self.seconds = seconds
        self._loaded: OrderedDict[tuple[str, str], Explainer] = OrderedDict()
        self._lock = Lock()
        self._loading: WeakValueDictionary[tuple[str, str], Lock] = WeakValueDictionary()

    @classmethod
    def bundled(cls) -> Networks:
        """The trained networks that come along, ImageNet's where their files are already here, and
        an untrained one of each attention type."""
        types = ("cbam", *(key for key in ("none", *ATTENTION) if key != "cbam"))
        trained = tuple(key for key in types if key in bundled_types())
        known = {"tiny50": trained} if trained else {}
        for name in STOCK:  # the page never starts a download
            if stock_file(name).is_file():
                known[name] = types
        return cls({**known, "random": types})

    def types(self, weights: str, own: OwnNetworks = NO_NETWORKS) -> tuple[str, ...]:
        """The attention types of these weights. Raises WeightsError where there are no such."""
        if weights in own:
            return (own[weights].attention,)
        if weights not in self.choices:
            raise WeightsError("no_network_here", weights=weights)
        return self.choices[weights]

    def labels(
        self, weights: str, attention: str, own: OwnNetworks = NO_NETWORKS
    ) -> tuple[str, ...]:
        """The classes of these weights. Raises WeightsError."""
        return own[weights].labels if weights in own else self.get(weights, attention).labels

    def get(self, weights: str, attention: str, own: OwnNetworks = NO_NETWORKS) -> Explainer:
        """The network, loaded now if it is not. Raises WeightsError."""
        if attention not in self.types(weights, own):
            raise WeightsError("no_network_with", weights=weights, attention=attention)
        key = (weights, attention)
        with self._lock:
            loading = self._loading.setdefault(key, Lock())
        with loading:
            with self._lock:
                found = self._loaded.get(key)
            if found is None:
                found = own[weights].load() if weights in own else self._load(weights, attention)
            with self._lock:
                self._loaded[key] = found
                self._loaded.move_to_end(key)
                self._evict()
        return found

    def _evict(self) -> None:
        _latest, *older = reversed(self._loaded.items())
        size = 0
        for key, explainer in older:
            size += sum(parameter.numel() for parameter in explainer.model.parameters())
            if size > self._max_parameters:
                del self._loaded[key]

"""The networks of one page: those that all its users share, and those of one session."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from types import MappingProxyType
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import torch
from torch import nn

from vggviz.app.own import Fit, OwnNetwork
from vggviz.app.slots import Slots
from vggviz.attention import ATTENTION
from vggviz.cache import Cache
from vggviz.explainer import Explainer
from vggviz.images import Preprocess
from vggviz.networks import build_network, load_weights, open_network
from vggviz.weights import (
    BUNDLED,
    STOCK,
    WEIGHTS,
    WeightsError,
    bundled_types,
    read_card,
    stock_file,
)
from vggviz.weights.bundle import bundled_file
from vggviz.weights.network_card import foreign_network
from vggviz.weights.stock import stock_config

__all__ = ["NO_NETWORKS", "Networks", "OwnNetworks"]

OwnNetworks: TypeAlias = Mapping[str, OwnNetwork]
"""A session's own networks, by fingerprint."""
NO_NETWORKS: OwnNetworks = MappingProxyType({})


class Networks:
    """The networks of one page, loaded when first used and then shared by all visitors.

    `choices` are the attention types by weights, the default first. A session's own networks are
    loaded beside them, by their fingerprint. At most `max_parameters` stay loaded in addition to
    the latest network; the least recently used are dropped first. `cache` holds results and
    explanations by content, in `cache_bytes`. One request may use the networks for `seconds`. Safe
    to share between threads.

    `named` are networks of any kind, by a name that `open_network` takes, with the other arguments
    of `Explainer.load`: they are loaded in the constructor, stay loaded, and come first. They and
    own networks compute on `device`, others where `load` puts them.

    `unmeasured` are the weights whose card says so (see `Card`), named networks included.
    """

    def __init__(
        self,
        choices: Mapping[str, Sequence[str]],
        load: Callable[[str, str], Explainer] = Explainer.load,
        max_parameters: int = 150_000_000,
        cache_bytes: int = 256 << 20,
        seconds: float = math.inf,
        named: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        device: str | torch.device = "cpu",
        unmeasured: Collection[str] = (),
    ) -> None:
        self._device = device
        self._named: dict[str, tuple[str, Explainer]] = {}
        for name, options in named.items():
            explainer = Explainer.load(name, device=device, **options)
            self._named[explainer.card.config.to_json()["network"]] = name, explainer
        found = {key: (one.card.config.attention,) for key, (_, one) in self._named.items()}
        self.choices = {**found, **{weights: tuple(types) for weights, types in choices.items()}}
        taught = (key for key, (_, one) in self._named.items() if one.card.unmeasured)
        self.unmeasured = frozenset((*unmeasured, *taught))
        self._load = load
        self._max_parameters = max_parameters
        self.cache = Cache(cache_bytes)
        self.seconds = seconds
        self.strokes = Slots(running=1, waiting=40, seconds=5)
        self._loaded: OrderedDict[tuple[str, str], Explainer] = OrderedDict()
        self._lock = Lock()
        self._loading: WeakValueDictionary[tuple[str, str], Lock] = WeakValueDictionary()

    @classmethod
    def bundled(cls) -> Networks:
        """The bundled trained networks, ImageNet's whose files are already on this machine, types
        with bundled attention first, and an untrained one of each attention type."""
        types = ("cbam", *(key for key in ("none", *ATTENTION) if key != "cbam"))
        trained = tuple(key for key in types if key in bundled_types())
        known = {BUNDLED: trained} if trained else {}
        known["random"] = types
        for name in STOCK:  # the page never starts a download
            if stock_file(name).is_file():
                taught = bundled_types(name)
                known[name] = tuple(sorted(types, key=lambda key: key not in taught))
        return cls(known)

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
        """The network, loaded if it is not yet. Raises WeightsError."""
        if attention not in self.types(weights, own):
            raise WeightsError("no_network_with", weights=weights, attention=attention)
        if weights in self._named:
            return self._named[weights][1]
        key = (weights, attention)
        with self._lock:
            loading = self._loading.setdefault(key, Lock())
        with loading:
            with self._lock:
                found = self._loaded.get(key)
            if found is None:
                found = (
                    self._load_own(own[weights])
                    if weights in own
                    else self._load(weights, attention)
                )
            with self._lock:
                self._loaded[key] = found
                self._loaded.move_to_end(key)
                self._evict()
        return found

    def find_fit(self, shapes: Mapping[str, Sequence[int]]) -> Fit | None:
        """The network of this page whose parameters and buffers have the names and `shapes` of an
        upload, apart from the number of classes; None where there is none."""
        for key in self.choices:
            own = {name: tuple(x.shape) for name, x in self._template(key)[0].state_dict().items()}
            last = next(reversed(own), "").rpartition(".")[0]
            fits = own.keys() == shapes.keys() and all(
                shape == tuple(shapes[name])
                or (name.rpartition(".")[0] == last and shape[1:] == tuple(shapes[name])[1:])
                for name, shape in own.items()
            )
            if fits and own:
                attention = self.choices[key][0] if key in self._named else "none"
                return Fit(key, attention, shapes[f"{last}.weight"][0])
        return None

    def _template(self, key: str, classes: int | None = None) -> tuple[nn.Module, Preprocess]:
        """A network of this page, without attention if it was built by vggviz, and its
        preprocessing: to compare names and shapes with, or, with `classes`, to load an upload's
        weights into."""
        if key in self._named:
            name, explainer = self._named[key]
            if classes is None:
                return explainer.model, explainer.preprocess
            return open_network(name, num_classes=classes), explainer.preprocess
        if key not in WEIGHTS:  # a weights file that the server's owner offers
            return nn.Module(), Preprocess()
        config, preprocess = stock_config(key, "none"), Preprocess()
        if key == BUNDLED:
            card = read_card(bundled_file("none"))
            config, preprocess = card.config, card.preprocess
        if classes is not None:
            config = replace(config, num_classes=classes)
        return build_network(config, empty=classes is None), preprocess

    def _load_own(self, own: OwnNetwork) -> Explainer:
        """A session's network. Raises WeightsError."""
        if not own.network:
            return own.load(self._device)
        network, preprocess = self._template(own.network, len(own.labels))
        load_weights(network, own.read_plain())
        facts: dict[str, Any] = {
            "name": own.network,
            "weights": own.name,
            "fingerprint": own.fingerprint,
        }
        found = foreign_network(network, preprocess, **facts)
        return Explainer(*found, copy=False, device=self._device)

    def _evict(self) -> None:
        _latest, *older = reversed(self._loaded.items())
        size = 0
        for key, explainer in older:
            size += sum(parameter.numel() for parameter in explainer.model.parameters())
            if size > self._max_parameters:
                del self._loaded[key]

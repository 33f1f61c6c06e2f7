"""The networks of one page: those that all its users share, and those of one session."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from types import MappingProxyType
from typing import TypeAlias
from weakref import WeakValueDictionary

from vggviz.app.deadline import patience
from vggviz.app.own import Own
from vggviz.app.pictures import Shown
from vggviz.attention import ATTENTION
from vggviz.cache import ExplanationCache, Kept
from vggviz.explainer import Explainer, Report
from vggviz.images.isolated import shared_decoder
from vggviz.weights import WeightsError, bundled_types, stock_file

Owned: TypeAlias = Mapping[str, Own]
"""A session's own networks, by fingerprint."""
NOTHING: Owned = MappingProxyType({})


class Networks:
    """The networks of one page: loaded when first asked for, then kept for whoever may ask.

    `choices` are the attention types by weights, the default first. Own networks are kept beside
    them, under their fingerprint and only for the sessions that hold them. At most `room`
    parameters stay loaded beside the latest network's; the least recently used go first. `answers`
    and `explanations` are what these networks said lately, by content, in `memory` bytes each. One
    request may use them for `seconds`. Safe to share between threads.
    """

    def __init__(
        self,
        choices: Mapping[str, Sequence[str]],
        load: Callable[[str, str], Explainer] = Explainer.load,
        room: int = 150_000_000,
        memory: int = 128 << 20,
        seconds: float = math.inf,
    ) -> None:
        self.choices = {weights: tuple(types) for weights, types in choices.items()}
        self._load = load
        self._room = room
        self.answers: Kept[Shown] = Kept(memory, lambda shown: shown.size)
        self.explanations = ExplanationCache(memory, shared_decoder().open_image)
        self.seconds = seconds
        self._loaded: OrderedDict[tuple[str, str], Explainer] = OrderedDict()
        self._lock = Lock()
        self._loading: WeakValueDictionary[tuple[str, str], Lock] = WeakValueDictionary()

    @classmethod
    def bundled(cls) -> Networks:
        """The trained networks that come along, ImageNet's where its file is already here, and an
        untrained one of each attention type."""
        types = ("cbam", *(key for key in ("none", *ATTENTION) if key != "cbam"))
        trained = tuple(key for key in types if key in bundled_types())
        known = {"tiny50": trained} if trained else {}
        if stock_file("imagenet").is_file():  # the page never starts a download
            known["imagenet"] = types
        return cls({**known, "random": types})

    def patience(self, lang: str = "en") -> Report:
        """What long work of this request calls between its passes, so that it can be ended."""
        return patience(self.seconds, lang)

    def types(self, weights: str, own: Owned = NOTHING) -> tuple[str, ...]:
        """The attention types of these weights. Raises WeightsError where there are no such."""
        if weights in own:
            return (own[weights].attention,)
        if weights not in self.choices:
            raise WeightsError("no_network_here", weights=weights)
        return self.choices[weights]

    def labels(self, weights: str, attention: str, own: Owned = NOTHING) -> tuple[str, ...]:
        """The classes of these weights. Raises WeightsError."""
        return own[weights].labels if weights in own else self.get(weights, attention).labels

    def get(self, weights: str, attention: str, own: Owned = NOTHING) -> Explainer:
        """The network; who asks for one that is being loaded, waits. Raises WeightsError."""
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
                self._make_room()
        return found

    def _make_room(self) -> None:
        _latest, *older = reversed(self._loaded.items())
        size = 0
        for key, explainer in older:
            size += sum(parameter.numel() for parameter in explainer.model.parameters())
            if size > self._room:
                del self._loaded[key]

"""Answers that were given before: the same picture and the same question cost no pass."""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np

from vggviz.explain import Explainer
from vggviz.explanation import Explanation
from vggviz.images import ImageSource, open_image

__all__ = ["ExplanationCache"]

Target: TypeAlias = int | str | None
Key: TypeAlias = tuple[object, ...]


class ExplanationCache:
    """The latest explanations, by network, picture and question, in at most `room` bytes.

    A picture is known by the SHA-256 of its bytes, or of its pixels where it has none: equal
    content is the same under any name, and a file that was changed is another. The least recently
    used go first. Who asks what is being computed, waits for it. Explanations are shared between
    those who ask: treat their arrays as read-only. Safe to share between threads.
    """

    def __init__(self, room: int = 128 << 20) -> None:
        self._room = room
        self._kept: OrderedDict[Key, tuple[Explanation, int]] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self._asked: WeakValueDictionary[Key, Lock] = WeakValueDictionary()
        # An id could come back for another network, once the first is gone.
        self._tokens: WeakKeyDictionary[Explainer, object] = WeakKeyDictionary()

    @property
    def size(self) -> int:
        """Bytes of arrays that are kept now."""
        return self._size

    def __len__(self) -> int:
        return len(self._kept)

    def explain(
        self,
        explainer: Explainer,
        image: ImageSource,
        sites: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        target: Target = None,
        *,
        exact: bool = False,
    ) -> Explanation:
        """`explainer.explain` of the same arguments, with the same errors."""
        return self.explain_each(explainer, image, (target,), sites, methods, exact=exact)[0]

    def explain_each(
        self,
        explainer: Explainer,
        image: ImageSource,
        targets: Sequence[Target],
        sites: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        exact: bool = False,
    ) -> list[Explanation]:
        """`explainer.explain_each` of the same arguments: only classes that are not kept cost a
        pass, and they share one. With the same errors."""
        wanted = [None if target is None else explainer.index(target) for target in targets]
        digest, image = _read(image)
        places = sites if isinstance(sites, str) else tuple(sites)
        with self._lock:
            token = self._tokens.setdefault(explainer, object())
            question: Key = (token, digest, places, tuple(methods), exact)
            asking = self._asked.setdefault(question, Lock())
        with asking:
            found = {target: self._find((*question, target)) for target in wanted}
            missing = [target for target, known in found.items() if known is None]
            if missing:
                new = explainer.explain_each(image, missing, sites, methods, exact=exact)
                for target, one in zip(missing, new, strict=True):
                    found[target] = one
                    self._keep((*question, target), one)
        return [known for target in wanted if (known := found[target]) is not None]

    def _find(self, key: Key) -> Explanation | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def _keep(self, key: Key, explanation: Explanation) -> None:
        size = sum(array.nbytes for array in explanation.arrays().values())
        with self._lock:
            self._kept[key] = (explanation, size)
            self._size += size
            while self._size > self._room:
                _, (_, freed) = self._kept.popitem(last=False)
                self._size -= freed


class _Named(io.BytesIO):
    """A file's bytes, still under its name: what is hashed is what is explained."""

    name: str = ""


def _read(image: ImageSource) -> tuple[str, ImageSource]:
    """The SHA-256 of a picture's content, and a source of that very content."""
    if isinstance(image, str | os.PathLike) and Path(image).is_file():
        stream = _Named(Path(image).read_bytes())
        stream.name = str(image)
        return hashlib.sha256(stream.getbuffer()).hexdigest(), stream
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest(), image
    opened = open_image(image)
    pixels = np.asarray(opened)
    shape = " ".join(map(str, pixels.shape)).encode()
    return hashlib.sha256(shape + b"\0" + pixels.tobytes()).hexdigest(), opened

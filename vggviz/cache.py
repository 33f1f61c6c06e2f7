"""A cache of explanations: the same picture, class and method cost no second pass."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeAlias
from weakref import WeakValueDictionary, ref

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache
from PIL.Image import Image

from vggviz.explainer import Explainer, Report
from vggviz.explanation import Explanation
from vggviz.images import Crop, ImageSource, open_image

__all__ = ["Cache", "explain_cached", "picture_digest", "store_explanations"]

Target: TypeAlias = int | str | None
Key: TypeAlias = tuple[object, ...]
RANKED_BYTES = 144  # of a class in a prediction: a tuple, two numbers, and a list's reference


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


class Cache:
    """A least-recently-used cache of values with `nbytes`, in at most `max_bytes` in all.

    A value of more than a quarter of that is not stored. `lock(key)` makes threads that need the
    same value wait for the first one, so that it is computed once. Values are shared: treat them as
    read-only. Safe to share between threads.
    """

    def __init__(self, max_bytes: int = 128 << 20) -> None:
        self._values: LRUCache[Key, Any] = LRUCache(max_bytes, getsizeof=lambda one: one.nbytes)
        self._lock = Lock()
        self._locks: WeakValueDictionary[Key, Lock] = WeakValueDictionary()

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return int(self._values.currsize)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Any:
        """The value of this key, None where there is none."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Key, value: _Sized) -> None:
        """Store a value, in the place of one that had the same key."""
        with self._lock:
            self._values.pop(key, None)
            if 4 * value.nbytes <= self._values.maxsize:
                self._values[key] = value

    def compute(self, key: Key, make: Callable[[], Any]) -> Any:
        """The value of this key, computed by `make` where there is none."""
        with self.lock(key):
            found = self.get(key)
            if found is None:
                found = make()
                self.put(key, found)
        return found

    @contextmanager
    def lock(self, key: Key) -> Generator[None, None, None]:
        """Only one thread at a time is inside, for each key."""
        with self._lock:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            yield


def explain_cached(
    cache: Cache,
    explainer: Explainer,
    image: ImageSource,
    targets: Sequence[Target] = (None,),
    stages: str | Sequence[str] = "all",
    methods: Sequence[str] = ("gradcam",),
    *,
    where: Crop | None = None,
    open_image: Callable[[ImageSource], Image] = open_image,
    progress: Report = lambda done, total: None,
) -> list[Explanation]:
    """The explanations of an image for each of `targets`, as `explainer.explain_each` returns them
    and with the same errors; classes and methods that the cache holds are not computed again.

    Pictures are the same if their content is (`picture_digest`). With `where`, the image is a crop
    of a picture, the network's input (S, S, 3), as for `explainer.explain_crop`.
    """
    digest, image = picture_digest(image)
    classes = [None if target is None else explainer.index(target) for target in targets]
    places = explainer.names(stages)
    keys = {one: (ref(explainer), digest, where, places, one) for one in classes}
    with cache.lock((ref(explainer), digest, where, places)):
        found = {one: cache.get(key) for one, key in keys.items()}
        known = {one: set(entry.methods) if entry else set() for one, entry in found.items()}
        lacking = [one for one in keys if found[one] is None or not known[one].issuperset(methods)]
        if lacking:
            missing = [m for m in methods if not all(m in known[one] for one in lacking)]
            if where is not None:
                crop = np.asarray(image)
                new = explainer.explain_crop(
                    crop, where, lacking, stages, missing, progress=progress
                )
            else:
                picture = open_image(image)
                new = explainer.explain_each(picture, lacking, stages, missing, progress=progress)
            for one, explanation in zip(lacking, new, strict=True):
                entry = _Entry(explanation, tuple(missing)).merged(found[one])
                found[one] = entry
                cache.put(keys[one], entry)
    return [found[one].selected(methods) for one in classes]


def store_explanations(
    cache: Cache,
    explainer: Explainer,
    explanations: Sequence[Explanation],
    stages: Sequence[str],
    methods: Sequence[str] = ("gradcam",),
) -> None:
    """Put explanations at all stages, with the maps of `methods`, into the cache: `explain_cached`
    returns them for the crop of each (`where`). Features are left out."""
    for one in explanations:
        digest, _ = picture_digest(one.image)
        key = (ref(explainer), digest, one.crop, tuple(stages), one.target.index)
        cache.put(key, _Entry(replace(one, features={}), tuple(methods)))


class _Entry:
    """An explanation with the maps of all `methods` that were computed so far."""

    def __init__(self, explanation: Explanation, methods: Sequence[str]) -> None:
        self.explanation, self.methods = explanation, methods
        self.nbytes = _nbytes(explanation)

    def merged(self, older: _Entry | None) -> _Entry:
        """This entry with the maps and contributions of an older one; itself where that is None."""
        if older is None:
            return self
        both = older.explanation, self.explanation
        order = max((one.stages for one in both), key=len)
        found = {**older.explanation.heatmaps, **self.explanation.heatmaps}
        maps = {key: found[key] for key in sorted(found, key=lambda key: order.index(key[0]))}
        methods = tuple(dict.fromkeys((*older.methods, *self.methods)))
        shares = {**older.explanation.contributions, **self.explanation.contributions}
        merged = replace(older.explanation, heatmaps=maps, contributions=shares)
        return _Entry(merged, methods)

    def selected(self, methods: Sequence[str]) -> Explanation:
        """The explanation with the maps of these methods only, in the network's order."""
        if tuple(methods) == self.methods:
            return self.explanation
        maps = self.explanation.heatmaps
        order = [(stage, name) for stage in self.explanation.stages for name in methods]
        return replace(self.explanation, heatmaps={key: maps[key] for key in order if key in maps})


def _nbytes(explanation: Explanation) -> int:
    prediction = explanation.prediction
    tensors = [prediction.logits, *explanation.features.values()]
    arrays = [*explanation.arrays().values(), *(tensor.numpy() for tensor in tensors)]
    return sum(array.nbytes for array in arrays) + RANKED_BYTES * len(prediction.ranked)


class _NamedBytes(io.BytesIO):
    """The bytes of a file and its name: read once, so that what was hashed is what is opened."""

    name: str = ""


def picture_digest(
    image: ImageSource | npt.NDArray[np.uint8],
) -> tuple[str, ImageSource]:
    """The SHA-256 of a picture's file or bytes, or of the shape and pixels of an image, and a
    source of exactly that content. Raises ImageError for a picture that cannot be used."""
    with suppress(OSError):  # then `open_image` says what is wrong with the file
        if isinstance(image, str | os.PathLike) and Path(image).is_file():
            stream = _NamedBytes(Path(image).read_bytes())
            stream.name = str(image)
            return hashlib.sha256(stream.getbuffer()).hexdigest(), stream
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest(), image
    opened = open_image(image)
    pixels = np.asarray(opened)
    shape = " ".join(map(str, pixels.shape)).encode()
    return hashlib.sha256(shape + b"\0" + pixels.tobytes()).hexdigest(), opened

"""Answers that were given before: the same picture and the same question cost no pass."""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Generic, TypeAlias, TypeVar
from weakref import WeakValueDictionary, ref

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from vggviz.explainer import Explainer, Report
from vggviz.explanation import Explanation
from vggviz.images import Crop, ImageSource, open_image

__all__ = ["ExplanationCache", "Kept", "digest"]

Target: TypeAlias = int | str | None
Key: TypeAlias = tuple[object, ...]
T = TypeVar("T")
RANKED = 144  # bytes of a class in a prediction: a tuple, two numbers, and its place in the list


class Kept(Generic[T]):
    """The values that were used last, in at most `room` bytes as `size` counts them.

    The least recently used go first; what would fill more than a quarter is not kept. Who wants
    what is being made, waits for it. Values are shared between those who ask: treat them as
    read-only. Safe to share between threads.
    """

    def __init__(self, room: int, size: Callable[[T], int]) -> None:
        self._room, self._measure = room, size
        self._values: OrderedDict[Key, tuple[T, int]] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self._making: WeakValueDictionary[Key, Lock] = WeakValueDictionary()

    @property
    def size(self) -> int:
        """Bytes that are kept now."""
        return self._size

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key, make: Callable[[], T]) -> T:
        """The value of this key, made now where there is none."""
        with self.asking(key):
            found = self.find(key)
            if found is None:
                found = make()
                self.keep(key, found)
        return found

    @contextmanager
    def asking(self, question: Key) -> Generator[None, None, None]:
        """One after the other, for all who ask this."""
        with self._lock:
            lock = self._making.setdefault(question, Lock())
        with lock:
            yield

    def find(self, key: Key) -> T | None:
        """The value of this key, None where there is none."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def keep(self, key: Key, value: T) -> None:
        """Keep a value, in the place of one that had the same key."""
        size = self._measure(value)
        with self._lock:
            self._size -= self._values.pop(key, (None, 0))[1]
            if 4 * size > self._room:
                return
            self._values[key] = (value, size)
            self._size += size
            while self._size > self._room:
                _, (_, freed) = self._values.popitem(last=False)
                self._size -= freed


class ExplanationCache:
    """The latest explanations, by network, picture and question, in at most `room` bytes.

    A picture is known by the SHA-256 of its bytes, or of its pixels where it has none: equal
    content is the same under any name, and a file that was changed is another. For what else is
    promised, see `Kept`. `open_image` reads what has to be explained anew.
    """

    def __init__(
        self, room: int = 128 << 20, open_image: Callable[[ImageSource], Image] = open_image
    ) -> None:
        self._kept: Kept[Explanation] = Kept(room, _bytes)
        self._open_image = open_image

    @property
    def size(self) -> int:
        """Bytes that are kept now."""
        return self._kept.size

    def __len__(self) -> int:
        return len(self._kept)

    def explain(
        self,
        explainer: Explainer,
        image: ImageSource,
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        target: Target = None,
        *,
        progress: Report = lambda done, total: None,
    ) -> Explanation:
        """`explainer.explain` of the same arguments, with the same errors."""
        each = self.explain_each(explainer, image, (target,), stages, methods, progress=progress)
        return each[0]

    def explain_each(
        self,
        explainer: Explainer,
        image: ImageSource,
        targets: Sequence[Target],
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        progress: Report = lambda done, total: None,
    ) -> list[Explanation]:
        """`explainer.explain_each` of the same arguments: only classes that are not kept cost a
        pass, and they share one. With the same errors."""
        known, image = digest(image)

        def ask(missing: Sequence[Target]) -> list[Explanation]:
            return explainer.explain_each(
                self._open_image(image), missing, stages, methods, progress=progress
            )

        return self._each(explainer, targets, (known, _places(stages), tuple(methods)), ask)

    def explain_crop(
        self,
        explainer: Explainer,
        crop: npt.NDArray[np.uint8],
        where: Crop,
        targets: Sequence[Target] = (None,),
        stages: str | Sequence[str] = "all",
        methods: Sequence[str] = ("gradcam",),
        *,
        progress: Report = lambda done, total: None,
    ) -> list[Explanation]:
        """`explainer.explain_crop` of the same arguments, as `explain_each`."""
        known, _ = digest(crop)

        def ask(missing: Sequence[Target]) -> list[Explanation]:
            return explainer.explain_crop(crop, where, missing, stages, methods, progress=progress)

        return self._each(explainer, targets, (known, where, _places(stages), tuple(methods)), ask)

    def _each(
        self,
        explainer: Explainer,
        targets: Sequence[Target],
        asked: Key,
        ask: Callable[[Sequence[Target]], list[Explanation]],
    ) -> list[Explanation]:
        wanted = [None if target is None else explainer.index(target) for target in targets]
        question = (ref(explainer), *asked)  # an id could come back for another network
        with self._kept.asking(question):
            found = {target: self._kept.find((*question, target)) for target in wanted}
            missing = [target for target, known in found.items() if known is None]
            if missing:
                for target, one in zip(missing, ask(missing), strict=True):
                    found[target] = one
                    self._kept.keep((*question, target), one)
        return [known for target in wanted if (known := found[target]) is not None]


def _bytes(explanation: Explanation) -> int:
    prediction = explanation.prediction
    tensors = [prediction.logits, *explanation.features.values()]
    arrays = [*explanation.arrays().values(), *(tensor.numpy() for tensor in tensors)]
    return sum(array.nbytes for array in arrays) + RANKED * len(prediction.ranked)


def _places(stages: str | Sequence[str]) -> str | tuple[str, ...]:
    return stages if isinstance(stages, str) else tuple(stages)


class _Named(io.BytesIO):
    """A file's bytes, still under its name: what is hashed is what is explained."""

    name: str = ""


def digest(image: ImageSource) -> tuple[str, ImageSource]:
    """The SHA-256 of a picture's content, and a source of that very content.

    Raises ImageError for a picture that cannot be used.
    """
    with suppress(OSError):  # then `open_image` says what is wrong with the file
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

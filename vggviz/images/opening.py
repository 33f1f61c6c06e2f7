"""Open a picture from any source as upright 8-bit sRGB."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from vggviz.images.decoding import convert, decode
from vggviz.images.errors import MAX_BYTES, ImageError, check_size
from vggviz.images.formats import take_apart

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[Any]

_PART = 64 << 20  # bytes


def open_image(source: ImageSource, *, full_range: bool = False) -> Image.Image:
    """Any picture as an upright 8-bit sRGB one (mode RGB, no metadata), alpha laid over white.

    `source` is a path, encoded bytes, an open binary file (read from its start), a Pillow image as
    it stands or a uint8 array, whose channels are RGB (OpenCV's are BGR: `array[..., ::-1]`). Of
    many frames it gives the first, and `info["animated"]` is True. Samples of more than 8 bits are
    stretched by the range that is used, which is `info["range"]` of the result then; with
    `full_range` by all that the format can hold ([0, 1] for floats). A file is taken apart within
    fixed bounds before any decoder sees it.
    Raises ImageError.
    """
    name = display_name(source)
    if type(source).__module__.split(".")[0] == "torch":  # which is not imported to decode
        raise ImageError("image_tensor")
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return convert(source, name, full_range)
    return decode(take_apart(read(source, name), name), name, full_range)


def display_name(source: object) -> str:
    """The base name to speak of: never a directory, nothing that a terminal can't print."""
    if not isinstance(source, (str, os.PathLike)):
        source = getattr(source, "name", getattr(source, "filename", ""))
    path = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else ""
    base = re.split(r"[/\\]", path.rstrip("/"))[-1]
    return "".join(filter(str.isprintable, base))[-80:] or "The picture"


def read(source: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> bytes:
    """The bytes of a picture file, at most `MAX_BYTES`. Raises ImageError."""
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, (str, os.PathLike)):
        with _open_file(source, name) as file:
            data = _read_file(file, name)
    else:
        data = _read_file(source, name)
    if not data:
        raise ImageError("image_empty", name=name)
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    return data


def _open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    try:
        mode = Path(path).stat().st_mode  # asked first: opening a pipe would wait for ever
        if stat.S_ISREG(mode):
            return Path(path).open("rb")
        reason = "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (getattr(error, "strerror", None) or "not a valid path").lower()
    raise ImageError("image_unopened", name=name, why=reason)


def _read_file(file: BinaryIO, name: str) -> bytes:
    try:
        length = MAX_BYTES + 1
        if not hasattr(file, "seekable") or file.seekable():
            length = file.seek(0, os.SEEK_END)
            if length > MAX_BYTES:
                raise _too_large(name)
            file.seek(0)
        parts: list[bytes] = []  # a buffer of all that may come would be set up at once
        while length > 0 and (part := file.read(min(length, _PART))):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)
    except ImageError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ImageError("image_unreadable", name=name) from error


def _too_large(name: str) -> ImageError:
    return ImageError("image_bytes", name=name, most=MAX_BYTES >> 20)


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    shape = array.shape
    if array.dtype != np.uint8 or not (array.ndim == 2 or shape[2:] in ((1,), (3,), (4,))):
        raise ImageError("image_array", dtype=array.dtype, shape=str(shape))
    check_size(shape[1], shape[0], "The picture")
    return Image.fromarray(array[:, :, 0] if shape[2:] == (1,) else array)

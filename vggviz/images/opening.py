"""Open a picture from any source as upright 8-bit sRGB."""

from __future__ import annotations

import importlib
import io
import os
import re
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[Any]

MAX_PIXELS = 50_000_000
MIN_SIDE = 16
MAX_SCANS = 100  # of a JPEG: encoders write up to ten, mozjpeg up to some thirty
MAX_BYTES = 512 << 20  # 50 megapixels of uncompressed 16-bit RGBA, and some room

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_HEIF = re.compile(rb".{4}ftyp(he..|m[is]f1)", re.DOTALL)
_TOO_LARGE = f"at most {MAX_PIXELS // 1_000_000} megapixels can be used"
# What decoders raise on hostile bytes; a Warning where the interpreter makes errors of them.
_BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, SyntaxError, ValueError, TypeError)
_BROKEN += (AttributeError, LookupError, ArithmeticError, AssertionError, RuntimeError)
_BROKEN += (MemoryError, struct.error, Warning)
_T = Image.Transpose  # what undoes EXIF orientation 2, 3, … 8
_UPRIGHT: tuple[_T, ...] = (_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.FLIP_TOP_BOTTOM, _T.TRANSPOSE)
_UPRIGHT += (_T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90)


class ImageError(ValueError):
    """A picture that cannot be used; the message is one sentence for people."""


def open_image(source: ImageSource) -> Image.Image:
    """Any picture as an upright 8-bit sRGB one (mode RGB, no metadata), alpha laid over white.

    `source` is a path, encoded bytes, an open binary file (read from its start), a Pillow image as
    it stands or a uint8 array. Of many frames it gives the first; 16-bit samples are shifted right
    by 8, floats must lie in [0, 1]. The size is checked before decoding. Raises ImageError.
    """
    name = _name(source)
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return _decode(source, name)
    if isinstance(source, (str, os.PathLike)):
        with _open_file(source, name) as file:
            return _decode(_identify(file, name), name)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    return _decode(_identify(file, name), name)


def _name(source: object) -> str:
    """The base name to speak of: never a directory, nothing that a terminal can't print."""
    if not isinstance(source, (str, os.PathLike)):
        source = getattr(source, "name", getattr(source, "filename", ""))
    path = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else ""
    base = re.split(r"[/\\]", path.rstrip("/"))[-1]
    return "".join(filter(str.isprintable, base))[-80:] or "The picture"


def _open_file(path: str | os.PathLike[str], name: str) -> BinaryIO:
    try:
        mode = Path(path).stat().st_mode  # asked first: opening a pipe would wait for ever
        if stat.S_ISREG(mode):
            return Path(path).open("rb")
        reason = "it is a folder" if stat.S_ISDIR(mode) else "it is no regular file"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (getattr(error, "strerror", None) or "not a valid path").lower()
    raise ImageError(f"{name} can't be opened: {reason}.")


def _identify(file: BinaryIO, name: str) -> Image.Image:
    try:
        if hasattr(file, "seekable") and not file.seekable():
            file = io.BytesIO(file.read(MAX_BYTES + 1))
        file.seek(0, os.SEEK_END)
        length = file.tell()
        file.seek(0)
        heif = _HEIF.match(file.read(12))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ImageError(f"{name} can't be read: expected path, bytes, file or picture.") from error
    if not length:
        raise ImageError(f"{name} is empty.")
    if length > MAX_BYTES:
        raise ImageError(f"{name} is too large: at most {MAX_BYTES >> 20} MB can be read.")
    try:
        if heif:
            # The class itself, since registering it would change Pillow for the whole process.
            return importlib.import_module("pillow_heif").HeifImageFile(file)
        image = Image.open(file, formats=_FORMATS)
        if image.format in ("JPEG", "MPO") and _scans(file) > MAX_SCANS:
            raise ImageError(f"{name} has too many scans: a JPEG may have {MAX_SCANS} here.")
        return image
    except ImportError as error:
        raise ImageError(f"{name} is HEIC: reading it needs the package pillow-heif.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} has too many pixels: {_TOO_LARGE}.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is no picture: expected {', '.join(_FORMATS)}, HEIC.") from error
    except ImageError:
        raise
    except _BROKEN as error:
        raise ImageError(f"{name} is truncated or damaged: its header is broken.") from error


def _scans(file: BinaryIO) -> int:
    """How many scans a JPEG has: each goes over all pixels, however few bytes it takes."""
    at, count, before = file.tell(), 0, b""
    file.seek(0)
    while block := file.read(1 << 20):
        count += (before + block).count(b"\xff\xda")
        before = block[-1:]
    file.seek(at)
    return count


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    shape = array.shape
    if array.dtype != np.uint8 or not (array.ndim == 2 or shape[2:] in ((1,), (3,), (4,))):
        raise ImageError(f"Expected uint8 of shape (H, W[, 1|3|4]), got {array.dtype} {shape}.")
    _check_size(shape[1], shape[0], "The picture")
    return Image.fromarray(array[:, :, 0] if shape[2:] == (1,) else array)


def _check_size(width: int, height: int, name: str) -> None:
    size = f"{name} has {width} x {height} pixels"
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{size}: each side needs at least {MIN_SIDE}.")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{size}: {_TOO_LARGE}.")


def _decode(image: Image.Image, name: str) -> Image.Image:
    _check_size(*image.size, name)
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    try:
        # 322 and 323: a TIFF's tile, which libtiff allocates whole however small the picture is.
        if tags.get(322, 0) * tags.get(323, 0) > MAX_PIXELS:
            raise ImageError(f"{name} has tiles with too many pixels: {_TOO_LARGE}.")
        image.load()
        _check_size(*image.size, name)  # again: a HEIC stream may differ from its header
        rgb = _to_srgb(_over_white(_eight_bits(image, name), name), image.info.get("icc_profile"))
    except ImageError:
        raise
    except _BROKEN as error:
        raise ImageError(f"{name} is truncated or damaged: its pixels don't decode.") from error
    turn = 1
    with suppress(*_BROKEN):  # broken EXIF is no reason to refuse good pixels
        turn = int(image.getexif().get(0x0112, 1))
    if 2 <= turn <= 8:
        rgb = rgb.transpose(_UPRIGHT[turn - 2])
    rgb.info = {}  # an orientation left there would turn the picture once more
    return rgb


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Deep greyscale as 8 bits: integers by their upper byte, floats in [0, 1] times 255."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    limit = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= limit):  # so that NaN fails as well
        raise ImageError(f"{name} has values outside [0, {limit}].")
    if image.mode == "F":
        grey = np.rint(values * np.float32(255))
    else:
        tags: dict[int, Any] = getattr(image, "tag_v2", {})
        grey = values >> (4 if tags.get(258) == (12,) else 8)  # TIFF's bits per sample
        if tags.get(262) == 0:  # white is zero, which Pillow minds at 8 bits only
            grey = 255 - grey
    eight = Image.fromarray(grey.astype(np.uint8))
    if isinstance(key := image.info.get("transparency"), int):
        eight.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return eight


def _over_white(image: Image.Image, name: str) -> Image.Image:
    """A copy without alpha, in mode RGB, L or CMYK, whatever a colour profile can speak of."""
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode == "LAB":
        raise ImageError(f"{name} is in the colour space Lab, expected RGB, CMYK or greyscale.")
    if not image.has_transparency_data:
        return image.convert("L" if grey else "CMYK" if image.mode == "CMYK" else "RGB")
    image = image.convert("LA" if grey else "RGBA")
    white = Image.new("L" if grey else "RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """RGB by the embedded profile; one that is broken, foreign or sRGB by name changes nothing."""
    if icc:
        with suppress(ImageCms.PyCMSError, *_BROKEN):
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            if "sRGB" not in ImageCms.getProfileDescription(profile):
                srgb = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
                return cast(Image.Image, converted)
    return image if image.mode == "RGB" else image.convert("RGB")

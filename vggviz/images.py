"""Pictures in: any source becomes a safe RGB picture, then the network's square, and back again."""

from __future__ import annotations

import importlib
import io
import os
import re
import stat
import struct
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageCms, UnidentifiedImageError

ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[Any]

MAX_PIXELS = 50_000_000
MIN_SIDE = 16
MAX_SCANS = 100  # of a JPEG: encoders write up to ten, mozjpeg up to some thirty
MOST_SIDE = 1024  # pixels that a network may ask for: VGG19 needs some 5 GB then
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
_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@cache
def image_extensions() -> frozenset[str]:
    """The file name extensions that `open_image` can open here, lower case with the dot: Pillow's
    for the allowed formats, and HEIC's where pillow-heif is installed."""
    formats = {*_FORMATS, "MPO"}  # which Pillow makes of a JPEG
    known = {ext for ext, format in Image.registered_extensions().items() if format in formats}
    if find_spec("pillow_heif"):
        known |= {".heic", ".heics", ".heif", ".heifs", ".hif"}
    return frozenset(known)


class ImageError(ValueError):
    """A picture that cannot be used; the message is one sentence for people."""


def open_image(source: ImageSource) -> Image.Image:
    """Any picture as an upright 8-bit sRGB one (mode RGB, no metadata), alpha laid over white.

    `source` is a path, encoded bytes, an open binary file (read from its start), a Pillow image as
    it stands or a uint8 array, whose channels are RGB (OpenCV's are BGR: `array[..., ::-1]`). Of
    many frames it gives the first; 16-bit samples are shifted right by 8, floats must lie in
    [0, 1]. The size is checked before decoding. Raises ImageError.
    """
    name = _name(source)
    if isinstance(source, torch.Tensor):
        raise ImageError(
            "The picture can't be read from a tensor: give a uint8 array (H, W, 3) in RGB, such as "
            "(255 * tensor).byte().permute(1, 2, 0).numpy() of values in [0, 1]."
        )
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


@dataclass(frozen=True, slots=True)
class Crop:
    """Where the network looked: a box in pixels of the upright original, and the latter's size."""

    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int

    def paste(self, map: npt.NDArray[Any], fill: float = 0.0) -> npt.NDArray[np.float32]:
        """A map (h, w) over the crop laid back on the original: (height, width), float32.

        Bilinear between cell centres, constant beyond them; pixels centred outside are `fill`.
        """
        rows, columns = map.shape
        across, x0, x1, x = _axis(columns, self.left, self.right, self.width)
        down, y0, y1, y = _axis(rows, self.top, self.bottom, self.height)
        band = map.astype(np.float32)
        band = band[y0] * (1 - y[:, None]) + band[y1] * y[:, None]  # (rows inside, w)
        picture = np.full((self.height, self.width), fill, dtype=np.float32)
        picture[down, across] = band[:, x0] * (1 - x) + band[:, x1] * x
        return picture


def _axis(cells: int, low: float, high: float, pixels: int) -> tuple[slice, Any, Any, Any]:
    """Pixels whose centre lies in [low, high), their two neighbour cells, the second's weight."""
    inside = slice(max(0, int(np.ceil(low - 0.5))), min(pixels, int(np.ceil(high - 0.5))))
    centres = np.arange(inside.start, inside.stop) + 0.5
    position = ((centres - low) / (high - low) * cells - 0.5).clip(0, cells - 1)
    first = position.astype(np.intp)
    return inside, first, np.minimum(first + 1, cells - 1), (position - first).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Picture → network input: shorter side to `resize`, centre `size`, (x / 255 - mean) / std.

    By default torchvision's transforms of ImageNet weights. Raises ValueError on senseless values,
    and on more than `MOST_SIDE` pixels: settings come with weights of strangers, and memory grows
    with the square.
    """

    size: int = 224
    resize: int = 256
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        whole = type(self.size) is type(self.resize) is int  # True is an int, too
        if not (whole and 1 <= self.size <= self.resize <= MOST_SIDE):
            raise ValueError(
                f"expected 1 <= size <= resize <= {MOST_SIDE}, got {self.size} and {self.resize}"
            )
        numbers = (*self.mean, *self.std)
        real = all(isinstance(n, int | float) and abs(n) <= 1000 for n in numbers)  # NaN is not
        if not real or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) < 1e-3:
            raise ValueError(
                f"expected 3 means and 3 std from 0.001 up, got {self.mean} and {self.std}"
            )
        if self.interpolation not in _RESAMPLE:
            raise ValueError(f"expected one of {list(_RESAMPLE)}, got {self.interpolation!r}")

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> Preprocess:
        """The inverse of `to_json`; absent keys take defaults, unknown ones raise TypeError."""
        values: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        return cls(**values)

    def crop(self, image: Image.Image) -> tuple[Image.Image, Crop]:
        """What the network sees of an RGB picture, and where that lies in it; raises ImageError."""
        if image.mode != "RGB":
            raise ImageError(f"Expected an RGB picture as open_image returns it, got {image.mode}.")
        width, height = image.size
        short, side = min(width, height), self.size
        # torchvision's rounding: the longer side down, the corner half to even.
        wide, high = (int(self.resize * length / short) for length in (width, height))
        left, top = round((wide - side) / 2), round((high - side) / 2)
        x, y = width / wide, height / high
        box = (left * x, top * y, min((left + side) * x, width), min((top + side) * y, height))
        how = _RESAMPLE[self.interpolation]
        if max(width, height) > 32 * short:  # resized as a whole, 16 x 8000 is 33 megapixels
            square = image.resize((side, side), how, box=box)
        else:
            square = image.resize((wide, high), how).crop((left, top, left + side, top + side))
        return square, Crop(*box, width, height)

    def normalise(self, crop: Image.Image | npt.NDArray[np.uint8]) -> torch.Tensor:
        """(x / 255 - mean) / std: uint8 RGB (..., H, W, 3) → float32 (..., 3, H, W).

        Raises ImageError for what is no such picture.
        """
        pixels = np.array(crop)  # a copy, since torch wants memory that it may write to
        if pixels.dtype != np.uint8 or pixels.ndim < 3 or pixels.shape[-1] != 3:
            raise ImageError(f"Expected uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}.")
        unit = torch.from_numpy(pixels).to(torch.float32) / 255
        unit = (unit - unit.new_tensor(self.mean)) / unit.new_tensor(self.std)
        return unit.movedim(-1, -3).contiguous()

    def denormalise(self, tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
        """255 · (x · std + mean), rounded: (3, H, W) or (1, 3, H, W) → uint8 (H, W, 3)."""
        unit = tensor.to("cpu", torch.float32).reshape(tensor.shape[-3:]).permute(1, 2, 0)
        unit = unit * unit.new_tensor(self.std) + unit.new_tensor(self.mean)
        return (unit * 255).round().clamp(0, 255).to(torch.uint8).numpy()

    def __call__(self, image: ImageSource) -> torch.Tensor:
        """Any picture as the network takes it: normalised float32 (1, 3, size, size)."""
        return self.normalise(self.crop(open_image(image))[0])[None]

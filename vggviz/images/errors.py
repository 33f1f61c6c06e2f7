"""Why a picture cannot be used, and the limits of what can."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from vggviz.types import Error

MAX_PIXELS = 50_000_000
MIN_SIDE = 16
MAX_SCANS = 100  # of a JPEG: encoders write up to ten, mozjpeg up to some thirty
MAX_DEEP_COLOUR = 150_000_000  # bytes of decoded 16-bit colours, which are decoded twice if dark
MAX_BYTES = 256 << 20  # of a file: 44 megapixels of uncompressed 16-bit RGB

# What decoders raise on hostile bytes; a Warning where the interpreter makes errors of them.
BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, SyntaxError, ValueError, TypeError)
BROKEN += (AttributeError, LookupError, ArithmeticError, AssertionError, RuntimeError)
BROKEN += (MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Warning)


class ImageError(Error, ValueError):
    """A picture that cannot be used."""


def check_size(width: int, height: int, name: str, limit: int = MAX_PIXELS) -> None:
    """Raise ImageError unless both sides reach `MIN_SIDE` and the area is at most `limit`."""
    size = {"name": name, "width": width, "height": height}
    if min(width, height) < MIN_SIDE:
        raise ImageError("image_too_small", **size, least=MIN_SIDE)
    if width * height > limit:
        raise ImageError("image_too_large", **size, most=limit // 1_000_000)


def too_complex(name: str, parts: str, limit: int) -> ImageError:
    """The error of a file with more parts than a decoder handles in bounded time."""
    return ImageError("image_too_complex", name=name, parts=parts, most=f"{limit:,}")

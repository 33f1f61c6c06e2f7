"""Pictures in: any source becomes a safe RGB picture, then the network's square, and back again."""

from vggviz.images.errors import (
    MAX_BYTES,
    MAX_PIXELS,
    MAX_SCANS,
    MIN_SIDE,
    ImageError,
)
from vggviz.images.formats import image_extensions
from vggviz.images.opening import ImageSource, open_image
from vggviz.images.preprocess import MAX_SIDE, Crop, Preprocess

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SCANS",
    "MAX_SIDE",
    "MIN_SIDE",
    "Crop",
    "ImageError",
    "ImageSource",
    "Preprocess",
    "image_extensions",
    "open_image",
]

"""The picture formats that can be opened here, and the endings of their files' names."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

_PLUGINS = (
    AvifImagePlugin.AvifImageFile,
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    JpegImagePlugin.JpegImageFile,
    MpoImagePlugin.MpoImageFile,
    PngImagePlugin.PngImageFile,
    PpmImagePlugin.PpmImageFile,
    TiffImagePlugin.TiffImageFile,
    WebPImagePlugin.WebPImageFile,
)
_OPTIONAL = {"AVIF": "avif", "WEBP": "webp"}  # what a build of Pillow may lack
_HEIF = frozenset({".heic", ".heif", ".hif"})


@cache
def image_extensions() -> frozenset[str]:
    """The endings, lower case with their dot, of the files that `open_image` can open here.

    They follow from the formats that it accepts and from what is installed: '.heic' is among them
    where pillow-heif is.
    """
    formats = {plugin.format for plugin in _PLUGINS}
    formats -= {name for name, feature in _OPTIONAL.items() if not features.check(feature)}
    found = {ending for ending, name in Image.EXTENSION.items() if name in formats}
    return frozenset(found | _HEIF if find_spec("pillow_heif") else found)

"""The picture formats that can be opened here: how a file is recognised, and its endings."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from PIL import Image, features

from vggviz.images.containers import bmff, bmp, gif, jpeg, png, ppm, tiff, webp
from vggviz.images.containers.container import Container
from vggviz.images.errors import BROKEN, ImageError

Scan = Callable[[bytes, str], Container]

_FORMATS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")
for _name in _FORMATS:  # or the first picture of some formats would import all plugins of Pillow
    import_module(f"PIL.{_name}ImagePlugin")
_OPTIONAL = {"AVIF": "avif", "WEBP": "webp"}  # what a build of Pillow may lack
_HEIF_ENDINGS = frozenset({".heic", ".heif", ".hif"})

_SCANS: tuple[tuple[re.Pattern[bytes], Scan], ...] = tuple(
    (re.compile(pattern, re.DOTALL), scan)
    for pattern, scan in (
        (rb"\x89PNG\r\n\x1a\n", png.scan),
        (rb"\xff\xd8\xff", jpeg.scan),
        (rb"GIF8[79]a", gif.scan),
        (rb"RIFF....WEBP", webp.scan),
        (rb"BM", bmp.scan),
        (rb"II[*+]\x00|MM\x00[*+]", tiff.scan),
        (rb"P[1-6][ \t\r\n\v\f#]", ppm.scan),
    )
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

_FOREIGN: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), kind)
    for pattern, kind in (
        (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "JPEG XL"),
        (rb"\xff\x4f\xff\x51|\x00\x00\x00\x0cjP  ", "JPEG 2000"),
        (rb"8BPS", "PSD (Photoshop)"),
        (rb"gimp xcf", "XCF (GIMP)"),
        (rb"\x00\x00\x01\x00[^\x00]\x00", "ICO"),
        (rb".{128}DICM", "DICOM"),
        (rb"%PDF", "PDF"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
        (rb"\s*(\xef\xbb\xbf)?\s*(<\?xml.{0,2000})?(<!(--|doctype\s+s).{0,2000})?<svg\b", "SVG"),
        (rb"\s*<(!doctype\s+)?html", "HTML"),
        (rb"v/1\x01", "OpenEXR"),
        (rb"SIMPLE  =", "FITS"),
        (rb"\x89HDF", "HDF5"),
        (rb"\x93NUMPY", "NumPy"),
        (rb".{344}n[+i]1\x00", "NIfTI"),
        (rb"FUJIFILMCCD-RAW|....ftypcrx |IIRO|IIU\x00", "camera RAW"),
        (rb"....ftyp|\x1aE\xdf\xa3|\x00\x00\x01[\xb3\xba]|RIFF....AVI ", "video"),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "archive"),
        (rb"P[7Ff]\s", "PAM or PFM"),
    )
)


@cache
def image_extensions() -> frozenset[str]:
    """The endings, lower case with their dot, of the files that `open_image` can open here.

    They follow from the formats that it accepts and from what is installed: '.heic' is among them
    where pillow-heif is.
    """
    formats = {name.upper() for name in _FORMATS}
    formats -= {name for name, feature in _OPTIONAL.items() if not features.check(feature)}
    found = {ending for ending, name in Image.EXTENSION.items() if name in formats} - {".pfm"}
    return frozenset(found | _HEIF_ENDINGS if find_spec("pillow_heif") else found)


def take_apart(data: bytes, name: str) -> Container:
    """The parts of a picture file that a decoder needs. Raises ImageError; it names a known format
    that isn't opened here."""
    try:
        return _scan(data, name)(data, name)
    except ImageError:
        raise
    except BROKEN as error:
        raise ImageError("image_header_damaged", name=name) from error


def _scan(data: bytes, name: str) -> Scan:
    head = data[:4096]
    for pattern, scan in _SCANS:
        if pattern.match(head):
            return scan
    brands = bmff.brands(head)
    if brands & {b"avif", b"avis"}:
        if features.check("avif"):
            return bmff.scan_avif
        raise ImageError("image_format", name=name, kind="AVIF")
    if brands & _HEIF_BRANDS:
        if find_spec("pillow_heif"):
            return bmff.scan_heif
        raise ImageError("image_heic", name=name)
    for pattern, kind in _FOREIGN:
        if pattern.match(head):
            raise ImageError("image_format", name=name, kind=kind)
    names = ("PNG", "JPEG", "WebP", "AVIF", "HEIC", "GIF", "TIFF", "BMP", "PPM")
    endings = image_extensions()
    known = ", ".join(one for one in names if f".{one.lower()}" in endings)
    raise ImageError("no_image", name=name, known=known)

"""Which annotation file or mask belongs to which picture, by their names and folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import takewhile
from pathlib import PurePosixPath

from vggviz.data.dataset import DataError
from vggviz.data.splits import part_named

__all__ = ["class_folder", "find_companions", "is_annotation", "is_mask"]

# Folders by the names that they usually have, in lower case.
_ANNOTATIONS = {"annotation", "annotations"}
_MASKS = {"mask", "masks", "segmentation", "segmentations", "segmentationclass"}
_MASKS |= {"segmentationobject"}
_PICTURES = {"data", "images", "img", "imgs", "jpegimages", "photos", "pictures"}


def is_annotation(name: str) -> bool:
    """Whether a file or folder lies in a folder of annotations or masks, or is one."""
    return not (_ANNOTATIONS | _MASKS).isdisjoint(name.casefold().split("/"))


def is_mask(name: str) -> bool:
    """Whether a file is a PNG in a folder inside a folder of masks: 'masks/cat/1.png', but not
    'mask/1.png', which may be a picture of the class 'mask'."""
    *folders, _, last = ["", *name.casefold().split("/")]
    return last.endswith(".png") and not _MASKS.isdisjoint(folders)


def class_folder(name: str) -> str:
    """The innermost folder of a picture that is not a part of the data, such as 'train', and not
    one of pictures, such as 'images'; '' where there is none."""
    _, trail = _trail(name)
    return next((folder for folder in trail if not part_named(folder)), "")


def find_companions(
    pictures: Iterable[str], names: Iterable[str], *, folders: int = 0, endings: bool = False
) -> dict[str, list[str]]:
    """The files among `names` that belong to each of the `pictures`, by picture.

    A file belongs to the picture with the same name but for the extension, of several to that with
    which it shares most folders from the innermost up, at least `folders`; 'Annotations', 'masks',
    'images' and their like are passed over, so that 'Annotations/train/cat/1.xml' belongs to
    'train/images/cat/1.jpg'. With `endings` a name may go on after '_': '1_left.png' belongs to
    '1.jpg' where there is no '1_left.jpg'. Files without a picture are left out. Raises DataError
    for a file that belongs to several equally well.
    """
    names = [*names]
    if not names:
        return {}
    by_stem = defaultdict[tuple[str, ...], list[tuple[list[str], str]]](list)
    for picture in pictures:
        stem, trail = _trail(picture)
        for key in ((stem,), (stem, *trail[:1])):  # with its folder: '1.jpg' is in every class
            by_stem[key].append((trail, picture))
    found = defaultdict[str, list[tuple[int, str]]](list)
    for name in names:
        stem, trail = _trail(name)
        while endings and (stem,) not in by_stem and "_" in stem:
            stem = stem.rpartition("_")[0]
        candidates = by_stem.get((stem, *trail[:1])) or by_stem.get((stem,)) or []
        shared = {picture: _shared(trail, other) for other, picture in candidates}
        most = max(shared.values(), default=-1)
        best = [picture for picture, count in shared.items() if count == most]
        if most >= folders and len(best) > 1:
            raise DataError(f"{name} could belong to {best[0]} and to {best[1]}")
        if most >= folders:
            found[best[0]].append((most, name))
    return {
        picture: sorted(name for count, name in some if count == max(some)[0])
        for picture, some in found.items()
    }


def _trail(name: str) -> tuple[str, list[str]]:
    """A file's name without extension, and its folders from the innermost up."""
    path = PurePosixPath(name.casefold())
    passed_over = _ANNOTATIONS | _MASKS | _PICTURES
    return path.stem, [part for part in reversed(path.parts[:-1]) if part not in passed_over]


def _shared(one: list[str], other: list[str]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

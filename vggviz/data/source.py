"""The files below a folder or in a zip archive, without hidden ones."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from vggviz.data.dataset import DataError
from vggviz.data.zip_names import member_names
from vggviz.images import image_extensions

__all__ = [
    "Source",
    "find_pictures",
    "ignored_text",
    "is_picture",
    "open_source",
    "split_pictures",
]

# Names of hidden files and folders that don't start with a dot, of macOS, Windows and Synology.
_HIDDEN = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}
HIDDEN = "hidden"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The contents of a folder or a zip archive.

    `names` are the relative paths of files, and of folders with a slash at the end; `read` returns
    the bytes of a file, can be pickled and raises OSError. `hidden` counts the hidden files and
    folders, which are not among the names.
    """

    names: tuple[str, ...]
    read: Callable[[str], bytes]
    hidden: int


def is_picture(name: str) -> bool:
    """Whether the extension is that of a supported image format."""
    return os.path.splitext(name)[1].lower() in image_extensions()  # noqa: PTH122, a name in a zip


def open_source(root: Path) -> Source:
    """The files of the folder or zip archive `root`. Raises DataError."""
    return _open_zip(root) if root.is_file() else _open_folder(root)


def find_pictures(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The pictures below `folder`, sorted, and how many other files there are by extension (see
    `ignored_text`). Raises DataError."""
    source = _open_folder(folder)
    pictures, ignored = split_pictures(source)
    return sorted(folder / name for name in pictures), ignored


def split_pictures(source: Source) -> tuple[list[str], Counter[str]]:
    """The names of pictures, and the count of all other files by extension."""
    pictures: list[str] = []
    ignored = Counter({HIDDEN: source.hidden} if source.hidden else {})
    for name in source.names:
        if is_picture(name):
            pictures.append(name)
        elif not name.endswith("/"):
            ending = Path(name).suffix.lower()
            ignored[ending or "without extension"] += 1
    return pictures, ignored


def ignored_text(ignored: Mapping[str, int]) -> str:
    """One line that counts the files that are not used, '' for none."""
    if not ignored:
        return ""
    return "ignored: " + ", ".join(f"{count} {kind}" for kind, count in ignored.items())


def _hidden_prefix(name: str) -> str | None:
    """The path up to its first hidden part, None where no part is hidden."""
    parts = name.rstrip("/").split("/")
    for depth, part in enumerate(parts, 1):
        if part.startswith(".") or part.casefold() in _HIDDEN:
            return "/".join(parts[:depth])
    return None


def _visible(names: Iterable[str]) -> tuple[tuple[str, ...], int]:
    """The names without a hidden part, and how many hidden files and folders there are."""
    visible: list[str] = []
    hidden: set[str] = set()
    for name in names:
        prefix = _hidden_prefix(name)
        if prefix is None:
            visible.append(name)
        else:
            hidden.add(prefix)
    return tuple(visible), len(hidden)


def _open_folder(root: Path) -> Source:
    def stop(error: OSError) -> NoReturn:
        raise DataError(f"{error.filename} can't be read: {error.strerror}") from error

    names: list[str] = []
    # Links are followed, as ImageFolder does, but not into a folder that they lie in.
    for here, folders, files in os.walk(root, onerror=stop, followlinks=True):
        below = Path(here).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        names += [f"{prefix}{folder}/" for folder in folders]
        names += [f"{prefix}{file}" for file in files]
        folders[:] = [
            folder
            for folder in folders
            if _hidden_prefix(folder) is None and not _is_loop(Path(here, folder))
        ]
    visible, hidden = _visible(names)
    return Source(visible, partial(_read_file, root), hidden)


def _is_loop(folder: Path) -> bool:
    """Whether `folder` is a link to one of its own parents."""
    return folder.is_symlink() and folder.resolve() in (folder.parent.resolve() / "_").parents


def _read_file(root: Path, name: str) -> bytes:
    return (root / name).read_bytes()


def _open_zip(root: Path) -> Source:
    try:
        with zipfile.ZipFile(root) as archive:
            names = {name: member.orig_filename for name, member in member_names(archive).items()}
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise DataError(f"{root.name} is neither a folder nor a zip file that is whole") from error
    except (OSError, NotImplementedError) as error:
        raise DataError(f"{root.name} can't be read: {error}") from error
    visible, hidden = _visible(names)
    return Source(visible, _ZipReader(root.resolve(), names), hidden)


class _ZipReader:
    """Reads members of an archive by their decoded names; each process opens the file itself,
    since a handle that is shared has one position for all."""

    def __init__(self, path: Path, stored: Mapping[str, str]) -> None:
        self._path, self._stored = path, dict(stored)
        self._opened: tuple[int, zipfile.ZipFile, dict[str, zipfile.ZipInfo]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __call__(self, name: str) -> bytes:
        try:
            _, archive, members = self._open()
            return archive.read(members[self._stored[name]])
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, KeyError) as error:
            raise OSError(f"damaged or locked in {self._path.name}") from error

    def _open(self) -> tuple[int, zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
        if self._opened is None or self._opened[0] != os.getpid():
            archive = zipfile.ZipFile(self._path)
            members = {member.orig_filename: member for member in archive.infolist()}
            self._opened = os.getpid(), archive, members
        return self._opened

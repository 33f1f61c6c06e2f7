"""Download of an archive over HTTP, resumed after interruptions and checked by size and MD5.

torchvision's `download_url` and torch.hub's downloader don't resume; huggingface_hub's `http_get`
does, but is internal, and trusts any range and length that a server answers with.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # on Windows two processes must not fetch into one folder
    fcntl = None  # type: ignore[assignment]

__all__ = ["ARCHIVES", "Archive", "FetchError", "fetch"]

CHUNK = 1 << 18  # bytes


class FetchError(RuntimeError):
    """An archive that can't be downloaded; the message is one sentence for users."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A file on the web: its name, where it is, its size in bytes and its MD5 sum."""

    name: str
    url: str
    size: int
    md5: str


ARCHIVES = {
    "tiny-imagenet": Archive(
        name="tiny-imagenet-200.zip",
        url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        size=248_100_043,
        md5="90528d7ca1a48142e341f4ef8d21d0de",
    ),
}


def fetch(
    archive: Archive,
    folder: Path,
    *,
    progress: Callable[[int], None] = lambda _: None,
    tries: int = 3,
    pause: float = 1.0,
    timeout: float = 30.0,
) -> Path:
    """Download `archive` into `folder`, unless it is there, and return its path.

    It is written to `<name>.part`, from which a later call resumes, and renamed when size and MD5
    are right. `progress` is called with the bytes so far. Only one process at a time downloads into
    a folder; others wait. A connection that breaks, or is silent for `timeout` seconds, is resumed
    after `pause` seconds, until `tries` in a row bring no new bytes. Raises FetchError.
    """
    target, part = (folder / archive.name).absolute(), folder / f"{archive.name}.part"
    if _is_there(target, archive):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder):
            if _is_there(target, archive):  # by now
                return target
            try:
                with part.open("ab") as file:
                    _download(file, archive, target, progress, tries, pause, timeout)
            finally:
                if part.exists() and part.stat().st_size == 0:
                    part.unlink()
            if not _is_right(part, archive):
                part.unlink()
                raise FetchError(
                    f"what came from {archive.url} is not the file with the MD5 sum {archive.md5} "
                    f"and was removed: start again, or put a right copy at {target}"
                )
            part.replace(target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "no space on the disk" if full else "this file cannot be written"
        raise FetchError(f"{part.absolute()}: {why} ({error.strerror or error})") from error
    return target


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on `folder`, which ends with the process: two processes must not
    append to one file."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no such locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _download(
    file: BinaryIO,
    archive: Archive,
    target: Path,
    progress: Callable[[int], None],
    tries: int,
    pause: float,
    timeout: float,
) -> None:
    """Append to `file` until it has the archive's size."""
    if file.tell() > archive.size:
        _truncate(file)
    needed, free = archive.size - file.tell(), shutil.disk_usage(target.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{_mb(needed)} are needed, {_mb(free)} are free")
    furthest, failed = file.tell(), 0
    progress(furthest)
    while file.tell() < archive.size:
        reason = "it broke off"
        try:
            for position, piece in _stream(archive, file.tell(), timeout):
                if position != file.tell():
                    _truncate(file)
                file.write(piece)
                if file.tell() > archive.size:
                    _truncate(file)
                    raise _wrong_size(archive, "more")
                progress(file.tell())
        except _ConnectionLost as error:
            reason = str(error)
        except FetchError as error:
            raise FetchError(f"{error} and put it at {target}") from error
        failed = 0 if file.tell() > furthest else failed + 1
        furthest = max(furthest, file.tell())
        if failed == tries:
            here = f" ({_mb(file.tell())} are here, and the next try goes on from there)"
            raise FetchError(
                f"{archive.url} cannot be reached ({reason}): try again, or get this file "
                f"({_mb(archive.size)}) where there is a network and put it at {target}"
                + (here if file.tell() else "")
            )
        if file.tell() < archive.size:
            time.sleep(pause)


class _ConnectionLost(Exception):
    """A failure after which a retry may succeed."""


def _stream(archive: Archive, start: int, timeout: float) -> Iterator[tuple[int, bytes]]:
    """Yield (position, bytes), from `start` or, where the server has no ranges, from 0."""
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(archive.url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            partial = response.status == 206
            position, total = _content_range(response.headers, partial)
            if total is not None and total != archive.size:
                raise _wrong_size(archive, f"{total:,}")
            if partial and position != start:
                yield 0, b""  # a range that was not asked for: start over
                return
            while piece := response.read1(CHUNK):
                yield position, piece
                position += len(piece)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # nothing there beyond `start`
                total = _content_range(error.headers, True)[1]
                if total is not None and total != archive.size:
                    raise _wrong_size(archive, f"{total:,}") from error
                yield 0, b""
            elif error.code >= 500 or error.code in (408, 429):
                raise _ConnectionLost(f"HTTP {error.code} {error.reason}") from error
            else:
                raise FetchError(
                    f"{archive.url} gives no file (HTTP {error.code} {error.reason}): find a copy "
                    f"elsewhere ({archive.size:,} bytes, MD5 {archive.md5})"
                ) from error
    except (OSError, HTTPException) as error:
        raise _ConnectionLost(
            str(getattr(error, "reason", error)) or type(error).__name__
        ) from error


def _content_range(headers: Message, partial: bool) -> tuple[int, int | None]:
    """The start of an answer in the file, and the file's size or None where it is not given."""
    if not partial:
        length = headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", headers.get("Content-Range", ""))
    if found is None:
        return -1, None
    return int(found[1] or -1), None if found[2] == "*" else int(found[2])


def _wrong_size(archive: Archive, size: str) -> FetchError:
    return FetchError(
        f"{archive.url} has {size} bytes instead of {archive.size:,} and so another file: find "
        f"a copy of the right one (MD5 {archive.md5})"
    )


def _truncate(file: BinaryIO) -> None:
    file.truncate(0)
    file.seek(0)


def _is_there(target: Path, archive: Archive) -> bool:
    """Whether `target` is the right file. Raises FetchError where it is another one."""
    if not target.exists():
        return False
    if not _is_right(target, archive):
        raise FetchError(
            f"{target} is not the file from {archive.url} ({archive.size:,} bytes, "
            f"MD5 {archive.md5}): move it away and start again"
        )
    return True


def _is_right(file: Path, archive: Archive) -> bool:
    if not file.is_file() or file.stat().st_size != archive.size:
        return False
    md5 = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK):
            md5.update(chunk)
    return md5.hexdigest() == archive.md5


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"

"""Download of an archive over HTTP, resumed after interruptions and checked by size and MD5.

torchvision's `download_url` and torch.hub's downloader don't resume; huggingface_hub's `http_get`
does, but is internal, and trusts any range and length that a server answers with.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # on Windows two processes must not fetch into one folder
    fcntl = None  # type: ignore[assignment]

__all__ = ["ARCHIVES", "Archive", "FetchError", "fetch"]

CHUNK = 1 << 18  # bytes
FULL = (errno.ENOSPC, errno.EDQUOT)


class FetchError(RuntimeError):
    """An archive that can't be downloaded; the message is one sentence for users."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A file on the web: its name, URL, size in bytes and MD5 sum."""

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
    target = (folder / archive.name).absolute()
    part = target.with_name(f"{archive.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            if target.exists():
                if _is_right(target, archive):
                    return target
                raise FetchError(
                    f"{target} is not the file from {archive.url} ({archive.size:,} bytes, MD5 "
                    f"{archive.md5}): move it away and start again"
                )
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
        full = error.errno in FULL
        why = "no space on the disk" if full else "this file cannot be written"
        raise FetchError(f"{part}: {why} ({error.strerror or error})") from error
    return target


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
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
    furthest, failures = file.tell(), 0
    progress(furthest)
    while file.tell() < archive.size:
        reason = "it broke off"
        try:
            _receive(file, archive, target, progress, timeout)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"HTTP {error.code} {error.reason}"
            if error.code == 416:  # the server has less than what is here
                _truncate(file)
            elif error.code < 500 and error.code not in (408, 429):
                raise _another_file(archive, target, f"gives no file ({reason})") from error
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (*FULL, errno.EFBIG):
                raise
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        size = file.tell()
        failures = 0 if size > furthest else failures + 1
        furthest = max(furthest, size)
        if failures == tries:
            here = f" ({_mb(size)} are here, and the next try goes on from there)" if size else ""
            raise FetchError(
                f"{archive.url} cannot be reached ({reason}): try again, or get this file "
                f"({_mb(archive.size)}) where there is a network and put it at {target}{here}"
            )
        if size < archive.size:
            time.sleep(pause)


def _receive(
    file: BinaryIO,
    archive: Archive,
    target: Path,
    progress: Callable[[int], None],
    timeout: float,
) -> None:
    """Append the response to one request; from the start where the server doesn't support
    ranges."""
    start = file.tell()
    headers = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(archive.url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout) as response:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length", "")
        size = start + int(length) if length.isdecimal() else archive.size
        if response.status == 200 and size != archive.size:
            raise _another_file(archive, target, f"has {size:,} bytes instead of {archive.size:,}")
        if start == 0:
            _truncate(file)
            if response.status == 206:  # not the range that was asked for
                return
        while piece := response.read1(CHUNK):
            file.write(piece)
            progress(file.tell())
            if file.tell() > archive.size:
                _truncate(file)
                raise _another_file(archive, target, f"has more instead of {archive.size:,} bytes")


def _another_file(archive: Archive, target: Path, why: str) -> FetchError:
    return FetchError(
        f"{archive.url} {why}: find a copy of the right file elsewhere ({archive.size:,} bytes, "
        f"MD5 {archive.md5}) and put it at {target}"
    )


def _truncate(file: BinaryIO) -> None:
    if file.tell():
        file.truncate(0)
        file.seek(0)


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

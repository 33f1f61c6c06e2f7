"""A file is whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vggviz.files import atomic_write


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.bin"
    with atomic_write(file) as part:
        part.write_bytes(b"one")
        assert part.parent == file.parent  # moving it into place is one step
        assert not file.exists()
    assert file.read_bytes() == b"one"
    assert file.stat().st_mode & 0o777 == 0o644
    with atomic_write(file) as part:
        part.write_bytes(b"two")
        assert file.read_bytes() == b"one"
    assert file.read_bytes() == b"two"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("late", [False, True])
def test_a_full_disk_leaves_the_old_file_and_no_stray_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def write() -> None:
        with atomic_write(file) as part:
            part.write_bytes(b"half")
            if not late:
                full()

    if late:  # the system took the bytes and finds no room for them later
        monkeypatch.setattr("vggviz.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_flushed_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows flushes no file that was opened to be read."""
    fcntl = pytest.importorskip("fcntl", reason="asks POSIX how a file was opened")
    flush = os.fsync

    def as_windows(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flush(handle)

    monkeypatch.setattr("vggviz.files.os.fsync", as_windows)
    with atomic_write(tmp_path / "a.bin") as part:
        part.write_bytes(b"one")
    assert (tmp_path / "a.bin").read_bytes() == b"one"

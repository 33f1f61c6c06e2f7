"""Files that are written whole or not at all, and where those that come along lie."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["assets_folder", "atomic_write"]


def assets_folder() -> Path:
    """The folder of bundled weights, fonts and examples, in the package or beside it."""
    package = Path(__file__).parent
    inside = package / "assets"
    return inside if inside.is_dir() else package.parent / "assets"


@contextmanager
def atomic_write(file: Path) -> Iterator[Path]:
    """A path beside `file` to write to, moved onto `file` when the block ends well.

    So no one ever sees half a file, and a block that fails leaves the old one and no stray one.
    Missing folders are made. Raises OSError where the folder cannot be written or the disk is full.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".vggviz-")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("r+b") as written:  # Windows flushes only what can be written to
            os.fsync(written.fileno())  # a full disk may be noticed only here
        part.chmod(0o644)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)

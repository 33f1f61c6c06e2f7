"""Folders as zip archives."""

from __future__ import annotations

import zipfile
from pathlib import Path


def zipped(root: Path) -> Path:
    """The folder `root` as ROOT.zip beside it."""
    file = root.with_suffix(".zip")
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root.parent))
    return file

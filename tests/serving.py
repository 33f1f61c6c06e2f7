"""The app as the README starts it, for tests that talk to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


@contextmanager
def served(folder: Path, **setting: str) -> Iterator[str]:
    """The address of `python app.py` on a free port, with its uploads in `folder`; at the end its
    log must hold no traceback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "uploads")}
    log = folder / "log"
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={**{k: v for k, v in os.environ.items() if k[:7] != "VGGVIZ_"}, **own, **setting},
            stdout=opened,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(1200):
            if process.poll() is not None or "Running on" in log.read_text():
                break
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait()

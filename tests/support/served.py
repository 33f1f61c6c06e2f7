"""A page in a process of its own, as people start it, for the tests that drive one."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
APP = ("app.py",)
SERVE = ("-m", "vggviz.cli", "serve")
START = 400  # seconds, of which a machine that does nothing else needs ten
PATIENT = {"timeout": 300.0}  # for HTTP clients, whose usual five seconds a busy machine exceeds
# Nothing outside can be reached: what tries gets a refused connection at once.
OFFLINE = {
    **dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"), "http://127.0.0.1:9"
    ),
    "no_proxy": "127.0.0.1,localhost",
}

SPACE = {
    "SYSTEM": "spaces",
    "SPACE_ID": "someone/vggviz",
    "SPACE_AUTHOR_NAME": "someone",
    "SPACE_REPO_NAME": "vggviz",
    "SPACE_HOST": "someone-vggviz.hf.space",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "GRADIO_SSR_MODE": "True",
    "GRADIO_ANALYTICS_ENABLED": "False",
}


@dataclass(frozen=True)
class Served:
    """A running server: its process, address, and what it has printed so far."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def address(self) -> str:
        """Where it listens on this machine."""
        return f"http://127.0.0.1:{self.port}"

    def printed(self) -> str:
        """Everything on stdout and stderr."""
        return self.log.read_text(encoding="utf-8")


def free_port() -> int:
    """A port that nobody listens on. It is below those that the kernel gives to connections, which
    could take it before the server does, and hardly that of another process of tests."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


@contextmanager
def served(
    folder: Path,
    command: Sequence[str] = APP,
    env: Mapping[str, str] | None = None,
    *,
    python: str = sys.executable,
    cwd: Path = ROOT,
    until: str = "Running on",
) -> Iterator[Served]:
    """Start `python command`, '{port}' in it filled in, and wait until it serves; killed at the end
    if it still runs."""
    port = free_port()
    own = {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        **OFFLINE,
    }
    log = folder / f"{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, *(word.replace("{port}", str(port)) for word in command)],
            cwd=cwd,
            env={
                **{k: v for k, v in os.environ.items() if k[:7] != "VGGVIZ_"},
                **own,
                **(env or {}),
            },
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Served(process, port, log)
    try:
        give_up = time.monotonic() + START
        while process.poll() is None and until not in server.printed():
            assert time.monotonic() < give_up, server.printed()
            time.sleep(0.1)
        assert process.poll() is None, server.printed()
        yield server
    finally:
        with suppress(ProcessLookupError):  # with the processes that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

"""Decode strangers' pictures in a process that has seen nobody's data.

Protocol: the template (`vggviz.images.worker`) gets one end of a socket pair for each picture. Over
it go, each behind its length as 4 bytes, a JSON object `{"name", "full_range", "size"}` and the
file; back come a JSON object, `{"error", "values"}` or `{"size", "range"}`, and the RGB bytes. A
child that passes its limits is killed by the system and answers nothing.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import weakref
from functools import cache
from threading import BoundedSemaphore, Lock
from typing import Any

import numpy as np
from PIL import Image

from vggviz.images.errors import ImageError, check_size
from vggviz.images.opening import ImageSource, display_name, open_image, read

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
_START += "from vggviz.images.worker import main; main()"
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "MALLOC_PERTURB_", "SYSTEMROOT")
_SINGLE = ("MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_TIMEOUT = 70.0  # seconds; a child ends itself before


class _Died(Exception):
    """The child, or the template, ended without an answer."""


class IsolatedDecoder:
    """`open_image` in child processes, at most `at_once` at a time.

    The template is started at the first picture, and again when it has died. Where the system
    can't fork (Windows), pictures are decoded in this process, within the bounds of `open_image`.
    Safe to share between threads.
    """

    def __init__(self, at_once: int = 2) -> None:
        self._places = BoundedSemaphore(at_once)
        self._lock = Lock()
        self._template: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def open_image(self, source: ImageSource, *, full_range: bool = False) -> Image.Image:
        """As `vggviz.images.open_image`, also with its errors, and ImageError for a picture that
        takes more than two seconds or 640 MB."""
        if isinstance(source, (Image.Image, np.ndarray)) or not hasattr(os, "fork"):
            return open_image(source, full_range=full_range)
        name = display_name(source)
        data = read(source, name)
        with self._places:
            for last in (False, True):
                try:
                    return self._decode(data, name, full_range)
                except _Died as error:
                    if last or self._alive():
                        raise ImageError("image_too_slow", name=name) from error
        raise AssertionError

    def close(self) -> None:
        """End the template; the next picture starts another."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._template = self._finalizer = None

    def _decode(self, data: bytes, name: str, full_range: bool) -> Image.Image:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._hand_over(theirs)
            ours.settimeout(_TIMEOUT)
            asked = json.dumps({"name": name, "full_range": full_range, "size": len(data)}).encode()
            try:
                ours.sendall(struct.pack("!I", len(asked)) + asked)
                ours.sendall(data)
                (length,) = struct.unpack("!I", _receive(ours, 4))
                answer: dict[str, Any] = json.loads(_receive(ours, length))
                if "error" in answer:
                    raise ImageError(answer["error"], **answer["values"])
                width, height = answer["size"]
                check_size(width, height, name)
                pixels = _receive(ours, width * height * 3)
            except OSError as error:
                raise _Died from error
        image = Image.frombytes("RGB", (width, height), bytes(pixels))
        if answer["range"] is not None:
            image.info["range"] = tuple(answer["range"])
        return image

    def _hand_over(self, theirs: socket.socket) -> None:
        with self._lock:
            for _ in range(2):
                if self._template is None or self._template[0].poll() is not None:
                    self._start()
                assert self._template is not None
                try:
                    socket.send_fds(self._template[1], [b"x"], [theirs.fileno()])
                    return
                except OSError:  # it died just now
                    self._stop()
        raise _Died

    def _alive(self) -> bool:
        with self._lock:
            return self._template is not None and self._template[0].poll() is None

    def _start(self) -> None:
        self._stop()
        ours, theirs = socket.socketpair()
        environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        environment |= {
            "MALLOC_ARENA_MAX": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # not for the terminal's Ctrl-C to end
            )
        self._template = process, ours
        self._finalizer = weakref.finalize(self, _stop, process, ours)


def _stop(process: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()  # which ends it
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _receive(sock: socket.socket, length: int) -> bytearray:
    buffer = bytearray(length)
    view, at = memoryview(buffer), 0
    while at < length:
        count = sock.recv_into(view[at:])
        if not count:
            raise _Died
        at += count
    return buffer


@cache
def shared() -> IsolatedDecoder:
    """The decoder of this process."""
    return IsolatedDecoder()

"""Decode strangers' pictures in a process that holds nobody's data.

Protocol: the template (`vggviz.images.worker`) gets one end of a socket pair for each picture. The
child that it forks sends `+`; to it go a JSON object `{"name", "full_range"}` and the picture's
bytes; back comes `{"error", "values"}`, or `{"size", "range", "animated"}` and the RGB pixels, a
message for each of `bands`. A child that passes its limits is killed by the system and answers
nothing.
"""

from __future__ import annotations

import json
import logging
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

from vggviz.images.depth import bands
from vggviz.images.errors import ImageError, check_size
from vggviz.images.opening import ImageSource, display_name, open_image, read

log = logging.getLogger(__name__)

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
_START += "from vggviz.images.worker import main; main()"
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "MALLOC_PERTURB_", "SYSTEMROOT")
# Arenas and threads' stacks would count as memory; large pages halve what a new process costs.
_MALLOC = dict.fromkeys(("MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_MALLOC["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
_TIMEOUT = 70  # seconds; a child ends itself before
_ANSWER = 1 << 20  # bytes of the JSON that a child may answer


class _NotStarted(Exception):
    """The template ended before it forked a child."""


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
            try:
                try:
                    return self._decode(data, name, full_range)
                except _NotStarted:
                    self.close()
                    return self._decode(data, name, full_range)
            except (OSError, EOFError, _NotStarted) as error:
                log.warning("a picture was not decoded: %s", type(error).__name__)
                raise ImageError("image_too_slow", name=name) from error

    def close(self) -> None:
        """End the template; the next picture starts another."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._template = self._finalizer = None

    def _decode(self, data: bytes, name: str, full_range: bool) -> Image.Image:
        from multiprocessing.connection import Connection  # which Windows lacks

        ours, theirs = socket.socketpair()
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # also in the middle of a message
            ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _TIMEOUT, 0))
        with Connection(ours.detach()) as child:
            with theirs:
                self._send_to_template(theirs.fileno())
            try:
                child.recv_bytes(1)
            except (OSError, EOFError) as error:
                raise _NotStarted from error
            child.send_bytes(json.dumps({"name": name, "full_range": full_range}).encode())
            child.send_bytes(data)
            answer: dict[str, Any] = json.loads(child.recv_bytes(_ANSWER))
            if "error" in answer:
                raise ImageError(answer["error"], **answer["values"])
            width, height = answer["size"]
            check_size(width, height, name)
            image = Image.new("RGB", (width, height))
            for box in bands(image.size):
                size = width, box[3] - box[1]
                pixels = child.recv_bytes(3 * size[0] * size[1])
                image.paste(Image.frombytes("RGB", size, pixels), box)
        if answer["range"] is not None:
            image.info["range"] = tuple(answer["range"])
        if answer["animated"]:
            image.info["animated"] = True
        return image

    def _send_to_template(self, file: int) -> None:
        with self._lock:
            if self._template is None or self._template[0].poll() is not None:
                self._start()
            assert self._template is not None
            try:
                socket.send_fds(self._template[1], [b"x"], [file])
            except OSError as error:  # it died just now
                raise _NotStarted from error

    def _start(self) -> None:
        self._stop()
        ours, theirs = socket.socketpair()
        environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment | _MALLOC,
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


@cache
def shared_decoder() -> IsolatedDecoder:
    """The decoder of this process."""
    return IsolatedDecoder()

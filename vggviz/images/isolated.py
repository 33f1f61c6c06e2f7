"""Decode strangers' pictures in a process that holds nobody's data.

Protocol: the template (`vggviz.images.worker`) gets one end of a socket pair and a file in memory
for each picture. The child that it forks says `+`; to it go, behind its length as 4 bytes, a JSON
object `{"name", "full_range", "size"}`, and the picture's bytes; back comes, likewise,
`{"error", "values"}` or `{"size", "range"}`, with the RGB pixels in the file. A child that passes
its limits is killed by the system and answers nothing.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import tempfile
import weakref
from functools import cache
from threading import BoundedSemaphore, Lock
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image

from vggviz.images.depth import bands
from vggviz.images.errors import MAX_PIXELS, ImageError, check_size
from vggviz.images.opening import ImageSource, display_name, open_image, read

log = logging.getLogger(__name__)

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
_START += "from vggviz.images.worker import main; main()"
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "MALLOC_PERTURB_", "SYSTEMROOT")
# Arenas and threads' stacks would count as memory; large pages halve what a new process costs.
_MALLOC = dict.fromkeys(("MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_MALLOC["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
_TIMEOUT = 70.0  # seconds; a child ends itself before


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
            except (OSError, _NotStarted) as error:
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
        ours, theirs = socket.socketpair()
        with ours, _memory() as output:
            output.truncate(3 * MAX_PIXELS)  # holes take no memory
            with theirs:
                self._send_to_template(theirs.fileno(), output.fileno())
            ours.settimeout(_TIMEOUT)
            try:
                _receive(ours, 1)
            except OSError as error:
                raise _NotStarted from error
            request = {"name": name, "full_range": full_range, "size": len(data)}
            head = json.dumps(request).encode()
            ours.sendall(struct.pack("!I", len(head)) + head)
            ours.sendall(data)
            (length,) = struct.unpack("!I", _receive(ours, 4))
            answer: dict[str, Any] = json.loads(_receive(ours, length))
            if "error" in answer:
                raise ImageError(answer["error"], **answer["values"])
            width, height = answer["size"]
            check_size(width, height, name)
            # Read, never mapped: a child that cuts the file would end this process with a signal.
            output.seek(0)
            image = Image.new("RGB", (width, height))
            for box in bands(image.size):
                size = width, box[3] - box[1]
                pixels = output.read(3 * size[0] * size[1])
                image.paste(Image.frombytes("RGB", size, pixels), box)
        if answer["range"] is not None:
            image.info["range"] = tuple(answer["range"])
        return image

    def _send_to_template(self, *files: int) -> None:
        with self._lock:
            for _ in range(2):
                if self._template is None or self._template[0].poll() is not None:
                    self._start()
                assert self._template is not None
                try:
                    socket.send_fds(self._template[1], [b"x"], files)
                    return
                except OSError:  # it died just now
                    self._stop()
        raise _NotStarted

    def _start(self) -> None:
        self._stop()
        ours, theirs = socket.socketpair()
        environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        environment |= _MALLOC
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


def _memory() -> BinaryIO:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return cast(BinaryIO, os.fdopen(os.memfd_create("pixels"), "r+b", buffering=0))
    return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))


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
            raise ConnectionResetError
        at += count
    return buffer


@cache
def shared_decoder() -> IsolatedDecoder:
    """The decoder of this process."""
    return IsolatedDecoder()

"""The process that decodes strangers' pictures: a template that forks one child a picture.

The template is started fresh and holds the decoders and nothing else: no picture, no network, no
secret of the server's environment. Each child gets one file over a socket of its own, limits on
memory, time and files, answers and ends. Run by `vggviz.images.isolated`, which says the protocol.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin

from vggviz.images.decoding import decode
from vggviz.images.depth import bands
from vggviz.images.errors import ImageError
from vggviz.images.formats import take_apart

MEMORY = 640 << 20  # bytes that one picture may take beside the decoders
CPU_SECONDS = 2
WALL_SECONDS = 60  # on a busy machine two seconds of work take longer


def main() -> None:
    """Fork a child for each socket that comes in on standard input, until that is closed."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a thread's stack counts as memory
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    control = socket.socket(fileno=0)
    while True:
        message, files, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        if os.fork() == 0:
            try:
                control.close()
                _limit()
                _serve(socket.socket(fileno=files[0]), files[1])
            finally:
                os._exit(0)
        for file in files:
            os.close(file)


def _limit() -> None:
    pages = Path("/proc/self/statm")
    if pages.exists():  # elsewhere the address space can't be limited, or not usefully
        size = int(pages.read_text().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(WALL_SECONDS)


def _serve(job: socket.socket, output: int) -> None:
    job.sendall(b"+")
    with job.makefile("rb") as file:
        (length,) = struct.unpack("!I", file.read(4))
        request = json.loads(file.read(length))
        name, files = request["name"], [file.read(request["size"])]
    answer: dict[str, Any]
    try:  # nothing here holds the file's bytes while the picture is made
        image = decode(take_apart(files.pop(), name), name, request["full_range"])
        answer = {"size": image.size, "range": image.info.get("range")}
        with mmap.mmap(output, 3 * image.width * image.height) as pixels:
            for box in bands(image.size):
                pixels.write(image.crop(box).tobytes())
    except ImageError as error:
        answer = {"error": error.code, "values": error.values}
    head = json.dumps(answer).encode()
    job.sendall(struct.pack("!I", len(head)) + head)

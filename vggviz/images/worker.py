"""The process that decodes strangers' pictures: a template that forks one child a picture.

The template is started fresh and holds the decoders and nothing else: no picture, no network, no
secret of the server's environment. Each child gets one file over a socket of its own, limits on
memory, time and files, answers and ends. `vggviz.images.isolated` runs it, and has the protocol.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

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
        message, files, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            try:
                control.close()
                _limit()
                _serve(Connection(files[0]))
            finally:
                os._exit(0)
        os.close(files[0])


def _limit() -> None:
    pages = Path("/proc/self/statm")
    if pages.exists():  # elsewhere the address space can't be limited, or not usefully
        size = int(pages.read_text().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(WALL_SECONDS)


def _serve(job: Connection) -> None:
    job.send_bytes(b"+")
    request = json.loads(job.recv_bytes())
    name, files = request["name"], [job.recv_bytes()]
    try:  # nothing here holds the file's bytes while the picture is made
        image = decode(take_apart(files.pop(), name), name, request["full_range"])
    except ImageError as error:
        job.send_bytes(json.dumps({"error": error.code, "values": error.values}).encode())
        return
    answer = {"size": image.size, "range": image.info.get("range")}
    answer["animated"] = image.info.get("animated", False)
    job.send_bytes(json.dumps(answer).encode())
    for box in bands(image.size):
        job.send_bytes(image.crop(box).tobytes())

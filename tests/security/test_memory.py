"""How much the server's process keeps of what is free: asked of glibc, in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
from served import ROOT

HEAPS = """
import ctypes, re, sys, threading
if "app" in sys.argv:
    import app
together = threading.Barrier(8)

def work():
    together.wait()
    kept = [bytes(2000) for _ in range(1000)]
    together.wait()

threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(len(re.findall("<heap nr", open(sys.argv[1]).read())))
"""

FREED = """
import os, threading
from vggviz.platform.malloc import limit_malloc, trim_until

def held():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20

limit_malloc()
kept = [bytes(2000) for _ in range(100_000)]  # 200 MB
last = kept[-1]
del kept  # all but the last, so that it is not the top of the heap that is free
before, stop = held(), threading.Event()
threading.Timer(1, stop.set).start()
trim_until(stop, every=0.1)
print(before - held())
"""


def heaps(*args: str) -> int:
    """How many heaps eight threads at once have made."""
    done = subprocess.run(
        [sys.executable, "-c", HEAPS, *args], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return int(done.stdout)


GLIBC = pytest.mark.skipif(
    not (sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_info")),
    reason="memory is only set where malloc is glibc's",
)


@GLIBC
def test_all_threads_of_the_server_share_one_heap(tmp_path: Path) -> None:
    file = str(tmp_path / "heaps.xml")
    assert heaps(file) > 2, "glibc has one heap a thread: else there is nothing to set"
    assert heaps(file, "app") == 1


@GLIBC
def test_what_is_free_is_given_back_while_the_server_runs() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150  # MB

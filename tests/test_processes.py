"""Explaining in real processes: forked ones, and one whose memory runs out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vggviz import zoo

PICTURE = str(zoo.assets() / "examples" / "koala.jpg")


def run(program: str, *words: str, seconds: int = 120) -> list[str]:
    """The lines that a fresh Python prints; one that hangs fails the test."""
    command = [sys.executable, "-c", program, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# The child reports through a pipe, and the parent waits for it a bounded time.
FORKED = """
import multiprocessing, sys, warnings, torch
from vggviz import Explainer

warnings.simplefilter("ignore")  # of forks in a process with threads
explainer = Explainer.load("tiny50", "cbam")

def label(_=None):
    return explainer.explain(sys.argv[1], "block5").target.label

class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return label()

assert torch.get_num_threads() == 2
print(label())
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*pool.map_async(label, range(3)).get(60))
loader = torch.utils.data.DataLoader(
    Pictures(), batch_size=None, num_workers=1, multiprocessing_context="fork", timeout=60
)
print(*loader)
assert torch.get_num_threads() == 2
print(label())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_processes_forked_after_an_explanation_explain_too() -> None:
    assert run(FORKED, PICTURE) == ["koala", "koala koala koala", "koala koala", "koala"]


# A limit on the address space where it stands now: what is allocated next may fail.
SHORT = """
import resource, sys
from pathlib import Path
from vggviz.batch import Worker

worker = Worker({"out": sys.argv[2], "formats": ("json",)})
row = {"file": sys.argv[1], "stem": "cat"}
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
said = set()
for more in range(0, 8 << 20, 1 << 20):
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, hard))
    done = worker(row)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    if done["failed"]:
        said.add(done["said"])
print(*said, sep="\\n")
print(worker(row)["failed"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_picture_for_which_memory_runs_out_does_not_end_a_folder(tmp_path: Path) -> None:
    said = run(SHORT, PICTURE, str(tmp_path))
    assert said == ["there is not enough memory to explain it", "False"]

"""Explaining in real processes: forked ones, and one whose memory runs out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vggviz.weights import assets_folder

PICTURE = str(assets_folder() / "examples" / "koala.jpg")


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
explainer = Explainer.load("everyday", "cbam")

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


# With 64 MB of address space left, a picture of 1024 pixels a side: conv1_1 alone would take more.
SHORT = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from vggviz.batch import Worker

worker = Worker({"out": sys.argv[2], "formats": ("json",)})
row, usual = {"file": sys.argv[1], "stem": "cat"}, worker.explainer.preprocess
worker(row)
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), resource.RLIM_INFINITY))
for preprocess in (replace(usual, size=1024, resize=1024), usual):
    worker.explainer.preprocess = preprocess
    done = worker(row)
    print(done["failed"], done["message"].split(" (")[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_picture_for_which_memory_runs_out_does_not_end_a_folder(tmp_path: Path) -> None:
    large, usual = run(SHORT, PICTURE, str(tmp_path))
    assert large == "True there is not enough memory to explain it"
    assert usual.startswith("False koala")

"""What a process needs so that those forked from it can compute."""

from __future__ import annotations

import os
from functools import cache

import torch

__all__ = ["compute_after_fork"]


@cache
def compute_after_fork() -> None:
    """Have whatever is forked from this process from now on compute with one thread.

    GNU OpenMP, with which PyTorch computes on Linux, keeps its threads for the next parallel
    region. A fork takes none of them along but the record that they are there, and the first
    parallel region in the child waits for them for ever. With one thread there is none. A child
    that sets more threads itself (`torch.set_num_threads`) hangs as before.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    torch.set_num_threads(1)

"""Computing with PyTorch in forked processes."""

from __future__ import annotations

import os
from functools import cache

import torch

__all__ = ["compute_after_fork"]


@cache
def compute_after_fork() -> None:
    """Have processes that are forked from now on compute with one thread.

    GNU OpenMP, with which PyTorch computes on Linux, keeps a pool of threads. A forked child has
    the record of that pool but none of its threads, and its first parallel region would wait for
    them for ever; with one thread there is no parallel region. A child that sets more threads
    itself (`torch.set_num_threads`) still hangs.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_one_thread)


def _one_thread() -> None:
    torch.set_num_threads(1)

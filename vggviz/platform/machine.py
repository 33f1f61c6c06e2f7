"""The machine and the versions that results are from, to be written beside them."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import vggviz

__all__ = ["Machine", "library_versions", "machine"]

_version = cache(version)  # which reads a file; importing torchvision takes a second


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine at one time; `load` is its 1-minute load average, None where unknown."""

    cpu: str
    cores: int
    threads: int
    torch: str
    date: str
    load: float | None

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.threads} threads, torch {self.torch}, "
            f"{self.date}"
        )


def machine() -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def library_versions() -> dict[str, str]:
    """The versions of vggviz, torch and torchvision."""
    return {
        "vggviz": vggviz.__version__,
        "torch": str(torch.__version__),
        "torchvision": _version("torchvision"),
    }


def _cpu() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

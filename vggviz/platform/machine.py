"""What this runs on, to stand beside every number that was measured."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

__all__ = ["Machine", "machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What something ran on; `load` is the 1-minute load before it, None where unknown."""

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
    """What this runs on, now."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        torch=str(torch.__version__),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _cpu() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""Reads which tensors an uploaded file holds in a process of its own, under limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vggviz.weights import WeightsError

__all__ = ["read_shapes"]

MEMORY = 2 << 30  # bytes of address space; most of it is for libraries
CPU_SECONDS = 5
TIMEOUT = 60  # seconds; more than CPU_SECONDS, since the machine may be busy
_CODE = f"""
import json, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
    resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS}, {CPU_SECONDS}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
except ImportError:  # Windows has no such limits
    pass
from safetensors import safe_open
with safe_open(sys.argv[1], framework="np") as opened:
    names = list(opened.keys())
    json.dump({{name: opened.get_slice(name).get_shape() for name in names}}, sys.stdout)
"""


def read_shapes(file: Path) -> Mapping[str, Sequence[int]]:
    """The shape of each tensor in a safetensors file by its name; no tensor is read.

    Raises WeightsError for a file that can't be read within the limits of memory and time.
    """
    command = [sys.executable, "-I", "-c", _CODE, str(file)]
    quiet = {"OPENBLAS_NUM_THREADS": "1"}  # its threads' stacks would count as memory
    try:
        output = subprocess.check_output(
            command, env=quiet, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=TIMEOUT
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise WeightsError("not_whole", name=file.name) from error
    shapes: dict[str, list[int]] = json.loads(output)
    return shapes

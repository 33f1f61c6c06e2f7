"""Stored results of evaluations of maps: a file for each metric of each network."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vggviz.evaluation.maps.job import Example, Part, Row
from vggviz.files import atomic_write

__all__ = ["PartialResult"]


class PartialResult:
    """The stored result of one metric for one network, in a file in `folder`; without a folder
    nothing is stored. `facts` are everything that its numbers depend on."""

    def __init__(
        self, folder: Path | None, metric: str, network: str, facts: Mapping[str, Any]
    ) -> None:
        plain = re.sub(r"[^\w.-]", "_", network)  # the name may be a path
        self._file = None if folder is None else folder / "parts" / f"{metric}-{plain}.json"
        described = json.dumps([metric, network, dict(facts)])
        self._key = hashlib.sha256(described.encode()).hexdigest()

    def load(self) -> Part | None:
        """The result, None where there is none that was measured with the same facts."""
        if self._file is None or not self._file.is_file():
            return None
        try:
            content = json.loads(self._file.read_text("utf-8"))
            if content["key"] != self._key:
                return None
            return Part(
                tuple(Row(**row) for row in content["rows"]),
                tuple(Example(**example) for example in content["examples"]),
                tuple(content["notes"]),
            )
        except (ValueError, KeyError, TypeError):
            return None  # damaged, or of another version: it is measured again

    def save(self, part: Part) -> None:
        """Write the result atomically. Raises OSError."""
        if self._file is not None:
            content = {"key": self._key, **asdict(part)}
            with atomic_write(self._file) as written:
                written.write_text(json.dumps(content, allow_nan=False), "utf-8")

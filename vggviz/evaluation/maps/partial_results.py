"""What was measured before, one file for each metric of each network."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vggviz.evaluation.maps.job import Example, Part, Row
from vggviz.files import atomic_write
from vggviz.networks import Network

__all__ = ["Kept", "digest"]


class Kept:
    """The parts in `folder`, each with a key of all that its numbers depend on; None keeps
    nothing.

    `facts` are what numbers depend on, `only` names those on which only some metrics do.
    """

    def __init__(
        self, folder: Path | None, facts: Mapping[str, Any], only: Mapping[str, Sequence[str]]
    ) -> None:
        self._folder = folder
        self._facts = facts
        self._only = only

    def get(self, metric: str, name: str) -> Part | None:
        """The part, where it was measured with the same facts."""
        if self._folder is None or not self._file(metric, name).is_file():
            return None
        try:
            told = json.loads(self._file(metric, name).read_text("utf-8"))
            if told["key"] != self._key(metric, name):
                return None
            return Part(
                tuple(Row(**row) for row in told["rows"]),
                tuple(Example(**example) for example in told["examples"]),
                tuple(told["notes"]),
            )
        except (ValueError, KeyError, TypeError):
            return None  # no part, or one of another version: it is measured again

    def put(self, metric: str, name: str, part: Part) -> None:
        """Write the part, whole or not at all. Raises OSError."""
        if self._folder is not None:
            told = {"key": self._key(metric, name), **asdict(part)}
            with atomic_write(self._file(metric, name)) as written:
                written.write_text(json.dumps(told, allow_nan=False), "utf-8")

    def _file(self, metric: str, name: str) -> Path:
        assert self._folder is not None
        plain = re.sub(r"[^\w.-]", "_", name)  # the name may be a path
        return self._folder / "parts" / f"{metric}-{plain}.json"

    def _key(self, metric: str, name: str) -> str:
        facts = {k: v for k, v in self._facts.items() if metric in self._only.get(k, (metric,))}
        return hashlib.sha256(json.dumps([metric, name, facts]).encode()).hexdigest()


def digest(model: Network) -> str:
    """The SHA-256 of a network: its configuration, and every number in it."""
    found = hashlib.sha256(json.dumps(model.config.to_json()).encode())
    for key, value in sorted(model.state_dict().items()):
        found.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()

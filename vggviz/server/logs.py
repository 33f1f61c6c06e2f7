"""Logs as one JSON object a line, without what users brought."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import datetime, timezone
from pathlib import PurePath
from typing import Any

__all__ = ["JsonLines", "start_logs"]


class JsonLines(logging.Formatter):
    """A record as JSON: time, level, logger, event, the record's `fields`, and where it failed.

    The event is the message *before* its arguments are filled in, and of an exception only its
    type and the lines of code are told: arguments and messages may quote a file's name or a label.
    So may another library's message without arguments: of that only the place is told.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        ours = record.name.partition(".")[0] == "vggviz"
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(
                "T", "milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": str(record.msg)
            if ours or record.args
            else f"{record.filename}:{record.lineno}",
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            told["error"] = _chain(record.exc_info[1])
        return json.dumps(told, ensure_ascii=False)


def _chain(error: BaseException | None) -> list[dict[str, Any]]:
    """An exception and those that it came from, the last first: types and places, no messages."""
    found: list[dict[str, Any]] = []
    while error is not None and len(found) < 10:
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{PurePath(f.filename).name}:{f.lineno} {f.name}" for f in frames[-8:]]
        found.append({"type": type(error).__name__, "at": places})
        error = error.__cause__ or error.__context__
    return found


def start_logs(kind: str) -> None:
    """Send all logs to stderr: 'json' as `JsonLines`, 'text' as people read them."""
    handler = logging.StreamHandler()
    root = logging.getLogger()
    if kind == "json":
        handler.setFormatter(JsonLines())
        logging.getLogger("vggviz").setLevel(logging.INFO)  # each request
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root.handlers = [handler]

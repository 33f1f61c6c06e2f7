"""Logs as one JSON object a line, without anything that users sent."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import datetime, timezone
from pathlib import PurePath
from typing import Any

__all__ = ["JsonLines", "start_logs"]


class JsonLines(logging.Formatter):
    """Formats a record as JSON: time, level, logger, event, the record's `fields`, and its error.

    Arguments and messages may quote a file's name or a label. So the event is the message *before*
    its arguments are filled in, of another library's message without arguments only the place, and
    of an exception only the types and lines of code.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        time = datetime.fromtimestamp(record.created, timezone.utc)
        ours = record.name.partition(".")[0] == "vggviz"
        line: dict[str, Any] = {
            "time": time.isoformat("T", "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.msg if ours or record.args else f"{record.filename}:{record.lineno}",
            **getattr(record, "fields", {}),
        }
        error = record.exc_info and record.exc_info[1]
        while error and len(line.setdefault("error", [])) < 10:  # and its causes
            frames = traceback.extract_tb(error.__traceback__)[-8:]
            places = [f"{PurePath(f.filename).name}:{f.lineno} {f.name}" for f in frames]
            line["error"].append({"type": type(error).__name__, "at": places})
            error = error.__cause__ or error.__context__
        return json.dumps(line, ensure_ascii=False, default=str)


def start_logs(kind: str) -> None:
    """Send all logs to stderr: 'json' as `JsonLines`, 'text' as plain lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    if kind == "json":
        handler.setFormatter(JsonLines())
        logging.getLogger("vggviz").setLevel(logging.INFO)  # each request
    logging.getLogger().handlers = [handler]

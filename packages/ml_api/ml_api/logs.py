"""Logs as JSON, one line per record, without any value that a client sent."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

LOGGER = logging.getLogger("ml_api")

#: Causes of an exception that are described, the exception itself included.
MAX_CAUSES = 5


class JSONFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time (UTC), level, logger, pid, message, and its ``fields`` if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["exceptions"] = describe(record.exc_info[1])
        return json.dumps(line, separators=(",", ":"), default=str)


def timestamp(seconds: float) -> str:
    """Format a time in UTC as ISO 8601 with milliseconds."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{_second(whole)}.{milliseconds:03d}+00:00"


@lru_cache(maxsize=2)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def describe(error: BaseException) -> list[dict[str, Any]]:
    """Return types and stacks of an exception and its causes; their messages may quote a value that was sent."""
    found: list[dict[str, Any]] = []
    cause: BaseException | None = error
    while cause is not None and len(found) < MAX_CAUSES:
        frames = traceback.extract_tb(cause.__traceback__)
        entry: dict[str, Any] = {
            "type": type(cause).__qualname__,
            "stack": [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames],
        }
        # The message is about the installation only, and names the module that is missing.
        if isinstance(cause, ImportError):
            entry["text"] = str(cause)
        found.append(entry)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return found


class _StdoutHandler(logging.Handler):
    """Writes to the current ``sys.stdout``, as ``logging.lastResort`` does with ``sys.stderr``."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write(self.format(record))
        except Exception:  # noqa: BLE001  a failure to log must not fail the request
            self.handleError(record)

    @staticmethod
    def write(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def log_request(**fields: Any) -> None:
    """Write the log line of a request; ``fields`` are names, numbers and ``None``."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    if [type(handler) for handler in LOGGER.handlers] != [_StdoutHandler]:
        LOGGER.info("request", extra={"fields": fields})
        return
    # The same line without a logging.LogRecord, which costs more than everything else here.
    line = {"time": timestamp(time.time()), "level": "info", "logger": LOGGER.name, "pid": os.getpid()}
    line |= {"message": "request", **fields}
    try:
        _StdoutHandler.write(msgspec.json.encode(line).decode())
    except (OSError, ValueError):
        LOGGER.info("request", extra={"fields": fields})


def configure(level: str) -> None:
    """Log to stdout at ``level``, unless the logger has a handler already."""
    LOGGER.setLevel(level.upper())
    if not LOGGER.handlers:
        handler = _StdoutHandler()
        handler.setFormatter(JSONFormatter())
        LOGGER.addHandler(handler)
        LOGGER.propagate = False


def flush() -> None:
    """Write what could not be written before."""

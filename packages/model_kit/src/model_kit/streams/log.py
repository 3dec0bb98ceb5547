"""Log lines as JSON on standard output, in the form of the API's; no value of a message is in them."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

LOGGER: Final = logging.getLogger("model_kit.streams")


class _JSONFormatter(logging.Formatter):
    """Formats a record as one line: time (UTC), level, logger, pid, message, and its ``fields`` if any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        return json.dumps(line | getattr(record, "fields", {}), separators=(",", ":"), default=str)


def configure() -> None:
    """Log to standard output, unless the logger has a handler already."""
    LOGGER.setLevel(logging.INFO)
    if not LOGGER.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(_JSONFormatter())
        LOGGER.addHandler(handler)
        LOGGER.propagate = False


def info(message: str, **fields: Any) -> None:
    """Log what happens as it should."""
    LOGGER.info(message, extra={"fields": fields})


def warning(message: str, **fields: Any) -> None:
    """Log what happens as it should not."""
    LOGGER.warning(message, extra={"fields": fields})


def error(message: str, **fields: Any) -> None:
    """Log why this process ends."""
    LOGGER.error(message, extra={"fields": fields})

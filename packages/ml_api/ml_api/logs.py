"""Logs as JSON, one line per record, without any value that a client sent."""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import stat
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import msgspec

LOGGER = logging.getLogger("ml_api")

#: Causes of an exception that are described, the exception itself included.
MAX_CAUSES = 5
#: Bytes of lines that are kept while nobody reads them.
MAX_BUFFERED = 256 * 1024


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


class LineWriter:
    """Writes lines to a file descriptor without waiting for its reader.

    Lines that the reader does not take are kept, up to ``MAX_BUFFERED`` bytes; further ones are dropped, and a line
    says how many as soon as the reader takes it.

    Args:
        descriptor: ``None``, or one that is closed: all lines are dropped.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._lock = threading.Lock()
        self._buffered: deque[bytes] = deque()
        self._size = self._dropped = 0
        self._write = _writer(descriptor)

    def write(self, text: str) -> None:
        """Write ``text``, which ends with a newline."""
        self.write_line(text.encode("utf-8", "backslashreplace"))

    def write_line(self, line: bytes) -> None:
        """Write ``line``, which ends with a newline, after the lines that are still kept."""
        with self._lock:
            if self._size > MAX_BUFFERED:
                self._dropped += 1
            else:
                self._keep(line)
            self._flush()

    def flush(self) -> None:
        """Write the lines that are kept, if the reader takes them now; logging calls this after each line."""
        if self._buffered:
            with self._lock:
                self._flush()

    def _keep(self, line: bytes) -> None:
        self._buffered.append(line)
        self._size += len(line)

    def _flush(self) -> None:
        try:
            while self._buffered:
                line = self._buffered[0]
                written = self._write(line)
                self._size -= written
                if written < len(line):
                    self._buffered[0] = line[written:]
                    continue
                self._buffered.popleft()
                if self._dropped and not self._buffered:
                    fields = {"level": "warning", "logger": LOGGER.name, "pid": os.getpid(), "dropped": self._dropped}
                    told = {"time": timestamp(time.time()), **fields, "message": "log lines were dropped"}
                    self._dropped = 0
                    self._keep(msgspec.json.encode(told) + b"\n")
        except BlockingIOError:
            pass
        except OSError:
            # The reader is gone, or the disk is full.
            self._dropped += len(self._buffered)
            self._buffered.clear()
            self._size = 0


def _writer(descriptor: int | None) -> Callable[[bytes], int]:
    """Return a function that writes bytes to ``descriptor``, or raises an ``OSError`` instead of waiting."""

    def fail(_: bytes) -> int:
        raise OSError(errno.EBADF, "closed")

    try:
        if descriptor is None:
            return fail
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return fail
    if stat.S_ISREG(mode):
        return partial(os.write, descriptor)
    try:
        # A description of its own: the flag would be that of all processes that share the other one.
        descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        # It is a socket, or belongs to another user. There is room for so much where there is room at all.
        poller = select.poll()
        poller.register(descriptor, select.POLLOUT)

        def write_if_ready(line: bytes) -> int:
            if not poller.poll(0):
                raise BlockingIOError
            return os.write(descriptor, line[: select.PIPE_BUF])

        return write_if_ready
    return partial(os.write, descriptor)


#: Where lines go; created by :func:`configure`.
_stdout: LineWriter | None = None


def log_request(**fields: Any) -> None:
    """Write the log line of a request; ``fields`` are names, numbers and ``None``."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    if _stdout is None or [type(handler) for handler in LOGGER.handlers] != [_StdoutHandler]:
        LOGGER.info("request", extra={"fields": fields})
        return
    # The same line without a logging.LogRecord, which costs more than everything else here.
    line = {"time": timestamp(time.time()), "level": "info", "logger": LOGGER.name, "pid": os.getpid()}
    line |= {"message": "request", **fields}
    _stdout.write_line(msgspec.json.encode(line) + b"\n")


def flush() -> None:
    """Write the lines that are kept, if their reader takes them now."""
    if _stdout is not None:
        _stdout.flush()


class _StdoutHandler(logging.StreamHandler[LineWriter]):
    """The handler that :func:`configure` adds."""


def configure(level: str) -> None:
    """Log to stdout at ``level``, unless the logger has a handler already."""
    global _stdout  # noqa: PLW0603  a process has one stdout
    LOGGER.setLevel(level.upper())
    if not LOGGER.handlers:
        # A descriptor 1 that was closed when Python started may be another file by now.
        _stdout = LineWriter(None if sys.__stdout__ is None else 1)
        handler = _StdoutHandler(_stdout)
        handler.setFormatter(JSONFormatter())
        LOGGER.addHandler(handler)
        LOGGER.propagate = False

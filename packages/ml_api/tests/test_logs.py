from __future__ import annotations

import errno
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from ml_api import logs
from ml_api.logs import LOGGER, MAX_CAUSES, JSONFormatter, LineWriter, configure, describe, log_request


def line_for(**attributes: Any) -> dict[str, Any]:
    record = logging.LogRecord("ml_api", logging.WARNING, "file.py", 1, "two %s\nlines", ("short",), None)
    record.__dict__ |= attributes
    text = JSONFormatter().format(record)
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text)
    return line


@pytest.fixture
def restored_logger() -> Iterator[None]:
    handlers, level, propagate = LOGGER.handlers[:], LOGGER.level, LOGGER.propagate
    yield
    LOGGER.handlers[:], LOGGER.propagate = handlers, propagate
    LOGGER.setLevel(level)


def test_a_record_is_one_line_of_json() -> None:
    line = line_for(process=7, created=0.25)
    assert line == {
        "time": "1970-01-01T00:00:00.250+00:00",
        "level": "warning",
        "logger": "ml_api",
        "pid": 7,
        "message": "two short\nlines",
    }


def test_time_is_now_in_utc() -> None:
    said = datetime.fromisoformat(line_for()["time"])
    assert abs((datetime.now(UTC) - said).total_seconds()) < 5


def test_fields_join_the_line() -> None:
    assert line_for(fields={"rows": 3})["rows"] == 3


def test_exceptions_are_types_and_stacks_without_their_text() -> None:
    try:
        try:
            raise KeyError("secret")
        except KeyError as error:
            raise ValueError("secret too") from error
    except ValueError:
        line = line_for(exc_info=sys.exc_info())
    assert [entry["type"] for entry in line["exceptions"]] == ["ValueError", "KeyError"]
    assert "test_exceptions_are_types" in line["exceptions"][0]["stack"][0]
    assert "secret" not in json.dumps(line)


def test_an_import_error_says_what_is_missing() -> None:
    (entry,) = describe(ImportError("No module named 'x'"))
    assert entry == {"type": "ImportError", "stack": [], "text": "No module named 'x'"}


def test_suppressed_context_is_left_out() -> None:
    error = ValueError()
    error.__context__ = KeyError()
    assert [entry["type"] for entry in describe(error)] == ["ValueError", "KeyError"]
    error.__suppress_context__ = True
    assert [entry["type"] for entry in describe(error)] == ["ValueError"]


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert len(describe(first)) == MAX_CAUSES


def configured() -> None:
    LOGGER.handlers[:] = []  # here, because pytest adds its own after the fixtures
    configure("info")


@pytest.mark.usefixtures("restored_logger")
def test_configured_log_goes_to_stdout_once(capfd: pytest.CaptureFixture[str]) -> None:
    configured()
    configure("info")
    LOGGER.info("hello")
    LOGGER.debug("too low")
    out, err = capfd.readouterr()
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["hello"]
    assert err == ""


@pytest.mark.usefixtures("restored_logger")
def test_line_of_a_request_is_as_the_formatter_writes_it(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"request_id": "r1", "route": "/v1/<n\u00e4me>", "rows": None, "duration_ms": 0.25}
    monkeypatch.setattr(time, "time", lambda: 1.5)
    configured()
    log_request(**fields)
    LOGGER.addHandler(logging.NullHandler())
    log_request(**fields)
    monkeypatch.setattr(LOGGER, "disabled", True)
    log_request(**fields)
    quick, plain = capfd.readouterr().out.splitlines()
    assert list(json.loads(quick).items()) == [
        ("time", "1970-01-01T00:00:01.500+00:00"),
        ("level", "info"),
        ("logger", "ml_api"),
        ("pid", os.getpid()),
        ("message", "request"),
        *fields.items(),
    ]
    assert list(json.loads(plain)) == list(json.loads(quick))


@pytest.mark.usefixtures("restored_logger")
def test_a_handler_that_is_there_already_is_respected(capfd: pytest.CaptureFixture[str]) -> None:
    LOGGER.handlers[:] = [logging.NullHandler()]
    configure("warning")
    LOGGER.warning("hello")
    assert capfd.readouterr().out == ""
    assert LOGGER.level == logging.WARNING


@pytest.fixture(params=["pipe", "pipe that cannot be opened again", "socket"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LineWriter, int]]:
    """A writer of a descriptor that blocks, and its reader's descriptor."""
    if request.param == "socket":
        ours, theirs = (end.detach() for end in socket.socketpair())
    else:
        theirs, ours = os.pipe()
    with monkeypatch.context() as patch:
        if "again" in request.param:
            patch.setattr(os, "open", Mock(side_effect=PermissionError))
        writer = LineWriter(ours)
    yield writer, theirs
    assert os.get_blocking(ours)
    for descriptor in (ours, theirs):
        with suppress(OSError):
            os.close(descriptor)


def read_all(descriptor: int) -> list[str]:
    os.set_blocking(descriptor, False)
    found = b""
    with suppress(BlockingIOError):
        while piece := os.read(descriptor, 65536):
            found += piece
    return found.decode().splitlines()


def test_log_that_nobody_reads_blocks_nothing(ends: tuple[LineWriter, int], monkeypatch: pytest.MonkeyPatch) -> None:
    writer, theirs = ends
    monkeypatch.setattr(logs, "MAX_BUFFERED", 100_000)
    sent = [f"{number:06} {'x' * 1000}" for number in range(1000)]
    for line in sent:
        writer.write(line + "\n")
    found: list[str] = []
    while lines := read_all(theirs):
        found += lines
        writer.flush()
    *kept, told = found
    assert "".join(kept) == "".join(sent[: len(kept)])
    assert 100 < len(kept) < 900
    assert json.loads(told)["message"] == "log lines were dropped"
    assert json.loads(told)["dropped"] == 1000 - len(kept)
    writer.write("next\n")
    assert read_all(theirs) == ["next"]


def test_line_longer_than_the_reader_takes_at_once_is_whole_in_the_end(ends: tuple[LineWriter, int]) -> None:
    writer, theirs = ends
    writer.write("x" * 300_000 + "\n")
    found = ""
    while lines := read_all(theirs):
        found += "".join(lines)
        writer.flush()
    assert found == "x" * 300_000


def test_reader_that_is_gone_is_no_error(ends: tuple[LineWriter, int], capfd: pytest.CaptureFixture[str]) -> None:
    writer, theirs = ends
    os.close(theirs)
    writer.write("lost\n")
    writer.write("lost\n")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("descriptor", [None, 987])
def test_descriptor_that_is_closed_takes_everything(descriptor: int | None) -> None:
    LineWriter(descriptor).write("lost\n")


def test_full_disk_loses_lines_and_tells_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        writer = LineWriter(file.fileno())
        with monkeypatch.context() as patch:
            patch.setattr(writer, "_write", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
            writer.write("lost\n")
        writer.write("kept\n")
    kept, told = path.read_text().splitlines()
    assert (kept, json.loads(told)["dropped"]) == ("kept", 1)

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest

from ml_api.logs import LOGGER, MAX_CAUSES, JSONFormatter, configure, describe, log_request


class Full(StringIO):
    """A disk without space."""

    def write(self, text: str, /) -> int:
        raise OSError(28, "No space left on device")


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


@pytest.mark.usefixtures("restored_logger")
def test_configured_log_goes_to_stdout_once(capsys: pytest.CaptureFixture[str]) -> None:
    LOGGER.handlers[:] = []  # here, because pytest adds its own after the fixtures
    configure("info")
    configure("info")
    LOGGER.info("hello")
    LOGGER.debug("too low")
    out, err = capsys.readouterr()
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["hello"]
    assert err == ""


@pytest.mark.usefixtures("restored_logger")
def test_log_that_cannot_be_written_is_no_error_of_the_request(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    LOGGER.handlers[:] = []
    configure("info")
    monkeypatch.setattr(sys, "stdout", Full())
    LOGGER.info("hello")
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.usefixtures("restored_logger")
def test_line_of_a_request_is_as_the_formatter_writes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"request_id": "r1", "route": "/v1/<n\u00e4me>", "rows": None, "duration_ms": 0.25}
    monkeypatch.setattr(time, "time", lambda: 1.5)
    LOGGER.handlers[:] = []
    configure("info")
    log_request(**fields)
    LOGGER.addHandler(logging.NullHandler())
    log_request(**fields)
    monkeypatch.setattr(LOGGER, "disabled", True)
    log_request(**fields)
    quick, plain = capsys.readouterr().out.splitlines()
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
def test_line_of_a_request_that_cannot_be_written_is_no_error_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    LOGGER.handlers[:] = []
    configure("info")
    monkeypatch.setattr(sys, "stdout", Full())
    log_request(status=200)
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.usefixtures("restored_logger")
def test_a_handler_that_is_there_already_is_respected(capsys: pytest.CaptureFixture[str]) -> None:
    LOGGER.handlers[:] = [logging.NullHandler()]
    configure("warning")
    LOGGER.warning("hello")
    assert capsys.readouterr().out == ""
    assert LOGGER.level == logging.WARNING

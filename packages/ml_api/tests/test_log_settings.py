from __future__ import annotations

import pytest

from ml_api.settings import LogSettings, SettingsError

PLACE = "PREDICTION_LOG"
FILE = {PLACE: "/var/log.db"}


def url(environ: dict[str, str]) -> str:
    found = LogSettings.from_environ(environ)
    assert found is not None
    return found.url


def test_database_url_alone_turns_nothing_on() -> None:
    """Platforms set it for whatever uses the database."""
    assert LogSettings.from_environ({"DATABASE_URL": "postgres://u:p@h/d", PLACE: ""}) is None


def test_defaults() -> None:
    assert LogSettings.from_environ(FILE) == LogSettings(
        url="sqlite:////var/log.db",
        required=True,
        inputs=True,
        redact=(),
        timeout=5,
        queue_bytes=33_554_432,
        days=90,
        durability="process",
    )


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("PREDICTION_LOG_REQUIRED", "false", "required", False),
        ("PREDICTION_LOG_INPUTS", "False", "inputs", False),
        ("PREDICTION_LOG_REDACT", "name, date of birth,", "redact", ("name", "date of birth")),
        ("PREDICTION_LOG_TIMEOUT", "9", "timeout", 9),
        ("PREDICTION_LOG_QUEUE_BYTES", "2000", "queue_bytes", 2000),
        ("PREDICTION_LOG_DAYS", "0", "days", 0),
        ("PREDICTION_LOG_DURABILITY", "power", "durability", "power"),
    ],
)
def test_each_variable_is_read(variable: str, text: str, name: str, value: object) -> None:
    assert getattr(LogSettings.from_environ({**FILE, variable: text}), name) == value


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("sqlite:////var/log.db", "sqlite:////var/log.db"),
        ("postgres://u:p@h:5/d?sslmode=require", "postgresql+psycopg://u:p@h:5/d?sslmode=require"),
        ("postgresql://h/d", "postgresql+psycopg://h/d"),
        ("DATABASE_URL", "postgresql+psycopg://u@db/d"),
    ],
)
def test_database_is_named_by_path_or_url_or_variable(place: str, expected: str) -> None:
    assert url({PLACE: place, "DATABASE_URL": "postgres://u@db/d"}) == expected


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({PLACE: "DATABASE_URL"}, "PREDICTION_LOG is DATABASE_URL, and that variable is not set"),
        ({PLACE: "log.db"}, "PREDICTION_LOG is 'log.db'; the path of the file must be absolute"),
        ({PLACE: "sqlite:///log.db"}, "PREDICTION_LOG is 'sqlite:///log.db'; the path of the file must be absolute"),
        ({PLACE: "mysql://u:secret@h/d"}, "PREDICTION_LOG begins with mysql://; it must be postgresql://"),
        (
            {**FILE, "PREDICTION_LOG_TIMEOUT": "0"},
            "PREDICTION_LOG_TIMEOUT is '0'; it must be a whole number from 1 to 60",
        ),
        ({**FILE, "PREDICTION_LOG_INPUTS": "no"}, "PREDICTION_LOG_INPUTS is 'no'; it must be one of true, false"),
    ],
)
def test_bad_value_is_refused_by_name(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        LogSettings.from_environ(environ)
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


def test_file_on_a_disk_that_does_not_last_is_refused_with_the_reason() -> None:
    with pytest.raises(
        SettingsError, match=r"SQLite file, and this platform \(DYNO is set\) discards its disk .* use Pos"
    ):
        LogSettings.from_environ({**FILE, "DYNO": "web.1"})
    assert url({PLACE: "postgres://h/d", "DYNO": "web.1"}) == "postgresql+psycopg://h/d"


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(LogSettings.from_environ({PLACE: "postgres://u:secret@h/d"}))

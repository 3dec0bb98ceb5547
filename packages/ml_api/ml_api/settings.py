"""Everything that the environment decides, read once into one frozen object.

No variable is read anywhere else. A bad value is refused with a sentence that names the variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """A variable of the environment has a value that cannot be used; the text names both."""


@dataclass(frozen=True)
class Settings:
    """What the environment decides.

    Attributes:
        host: ``HOST``, address to listen on.
        port: ``PORT``, TCP port to listen on.
        workers: ``WEB_CONCURRENCY``, worker processes; each loads the models and uses one core.
        threads: ``THREADS``, requests that one worker computes at a time.
        request_timeout: ``REQUEST_TIMEOUT``, seconds in which a request must arrive and its answer be taken.
        max_rows: ``MAX_ROWS``, records of one request.
        max_explained: ``MAX_EXPLAINED``, records of one request that asks for explanations.
        max_body_bytes: ``MAX_BODY_BYTES``, size of one request's body.
        max_held_bytes: ``MAX_HELD_BYTES``, large bodies and answers that one worker holds at a time.
        log_level: ``LOG_LEVEL``; above ``info`` the line for each request goes too.
        default_model: ``DEFAULT_MODEL``, whose version ``/version`` gives as ``model_version``.
        git_commit: ``GIT_COMMIT``, else what a platform says; what the API was built from, for ``/version``.
    """

    host: str = "0.0.0.0"  # noqa: S104  a container's or dyno's router comes from outside
    port: int = 5000
    workers: int = 2
    threads: int = 4
    request_timeout: int = 20
    max_rows: int = 10_000
    max_explained: int = 100
    max_body_bytes: int = 32 * 1024 * 1024
    max_held_bytes: int = 32 * 1024 * 1024
    log_level: str = "info"
    default_model: str = "regression"
    git_commit: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read ``environ``; a variable that is absent has its default.

        Raises:
            SettingsError: a value cannot be used; the text names the variable and says what can.
        """
        return cls(
            host=_word(environ, "HOST", cls.host, r"[A-Za-z0-9.:_-]+", "a host name or an IP address"),
            port=_whole(environ, "PORT", cls.port, 1, 65_535),
            workers=_whole(environ, "WEB_CONCURRENCY", cls.workers, 1, 256),
            threads=_whole(environ, "THREADS", cls.threads, 1, 256),
            request_timeout=_whole(environ, "REQUEST_TIMEOUT", cls.request_timeout, 1, 3600),
            max_rows=_whole(environ, "MAX_ROWS", cls.max_rows, 1, 10_000_000),
            max_explained=_whole(environ, "MAX_EXPLAINED", cls.max_explained, 1, 10_000_000),
            max_body_bytes=_whole(environ, "MAX_BODY_BYTES", cls.max_body_bytes, 1, 1024**3),
            max_held_bytes=_whole(environ, "MAX_HELD_BYTES", cls.max_held_bytes, 1, 64 * 1024**3),
            log_level=_one_of(environ, "LOG_LEVEL", cls.log_level, LOG_LEVELS),
            default_model=_word(environ, "DEFAULT_MODEL", cls.default_model, r"[^/\s]+", "the name of a model"),
            git_commit=_commit(environ),
        )

    @property
    def bind(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _whole(environ: Mapping[str, str], variable: str, default: int, low: int, high: int) -> int:
    text = environ.get(variable, str(default))
    if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
        raise SettingsError(f"{variable} is {text!r}; it must be a whole number from {low} to {high}")
    return int(text)


def _word(environ: Mapping[str, str], variable: str, default: str, pattern: str, allowed: str) -> str:
    text = environ.get(variable, default)
    if not re.fullmatch(pattern, text):
        raise SettingsError(f"{variable} is {text!r}; it must be {allowed}")
    return text


def _commit(environ: Mapping[str, str]) -> str | None:
    # Ours; Heroku's while it builds; Heroku's while it runs. A platform may set its own to nothing.
    for variable in ("GIT_COMMIT", "SOURCE_VERSION", "HEROKU_SLUG_COMMIT"):
        if environ.get(variable):
            return _word(environ, variable, "", r"[0-9A-Za-z._/+-]{1,100}", "a commit, such as 97be0ea")
    return None


def _one_of(environ: Mapping[str, str], variable: str, default: str, allowed: tuple[str, ...]) -> str:
    text = environ.get(variable, default)
    if text.lower() not in allowed:
        raise SettingsError(f"{variable} is {text!r}; it must be one of {', '.join(allowed)}")
    return text.lower()

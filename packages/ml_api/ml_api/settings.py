"""Settings from environment variables, read once into a frozen object.

No other module of this package reads a variable. An empty variable counts as unset, because docker compose and CI pass
unset ones as empty. An invalid value raises an error that names the variable.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

LOG_LEVELS = ("debug", "info", "warning", "error")
#: Which requests are traced, in OpenTelemetry's words.
SAMPLERS = tuple(
    f"{prefix}{name}" for prefix in ("parentbased_", "") for name in ("always_on", "always_off", "traceidratio")
)


class SettingsError(Exception):
    """An environment variable has an invalid value; the message names both."""


class PortInUseError(SettingsError):
    """Another process listens on the port."""


@dataclass(frozen=True)
class LogSettings:
    """Settings of the prediction log.

    Attributes:
        url: ``PREDICTION_LOG``: the path of an SQLite file, a URL, or ``DATABASE_URL``, which stands for its value.
        required: ``PREDICTION_LOG_REQUIRED``, whether a prediction is answered only after its record is committed.
        inputs: ``PREDICTION_LOG_INPUTS``, whether the records' fields are logged.
        redact: ``PREDICTION_LOG_REDACT``, fields that are not logged.
        timeout: ``PREDICTION_LOG_TIMEOUT``, seconds for a commit, the wait for it included.
        queue_bytes: ``PREDICTION_LOG_QUEUE_BYTES``, size of what may wait for its commit in one worker.
        days: ``PREDICTION_LOG_DAYS``, retention; 0: without end.
        durability: ``PREDICTION_LOG_DURABILITY``: commits survive the end of a ``process``, or also of ``power``.
    """

    url: str = field(repr=False)
    required: bool = True
    inputs: bool = True
    redact: tuple[str, ...] = ()
    timeout: int = 5
    queue_bytes: int = 32 * 1024 * 1024
    days: int = 90
    durability: str = "process"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> LogSettings | None:
        """Read ``environ``; returns ``None`` if ``PREDICTION_LOG`` is not set.

        Raises:
            SettingsError: a value is invalid; the message names the variable.
        """
        place = environ.get("PREDICTION_LOG")
        if not place:
            return None
        return cls(
            url=_database(environ, place),
            required=_flag(environ, "PREDICTION_LOG_REQUIRED", cls.required),
            inputs=_flag(environ, "PREDICTION_LOG_INPUTS", cls.inputs),
            redact=tuple(filter(None, map(str.strip, environ.get("PREDICTION_LOG_REDACT", "").split(",")))),
            timeout=_integer(environ, "PREDICTION_LOG_TIMEOUT", cls.timeout, 1, 60),
            queue_bytes=_integer(environ, "PREDICTION_LOG_QUEUE_BYTES", cls.queue_bytes, 1024, 64 * 1024**3),
            days=_integer(environ, "PREDICTION_LOG_DAYS", cls.days, 0, 36_500),
            durability=_choice(environ, "PREDICTION_LOG_DURABILITY", cls.durability, ("process", "power")),
        )


@dataclass(frozen=True)
class Candidate:
    """Another version of a model than the installed one.

    Attributes:
        kind: ``shadow``: scores the same rows; ``canary``: serves a share of the callers.
        name: of the model.
        path: the folder of a bundle, or a wheel.
    """

    kind: str
    name: str
    path: str


@dataclass(frozen=True)
class Settings:
    """Settings of the server.

    Attributes:
        host: ``HOST``, address to listen on.
        port: ``PORT``, TCP port to listen on.
        workers: ``WEB_CONCURRENCY``, worker processes; each loads the models and uses one core.
        threads: ``THREADS``, short requests that one worker computes at the same time; long ones compute one at a time.
        request_timeout: ``REQUEST_TIMEOUT``, seconds to receive a request, and to send its response.
        shutdown_delay: ``SHUTDOWN_DELAY``, seconds after SIGTERM for which the server still accepts connections.
        pid_file: ``PID_FILE``, file by which ``ml-api reload`` finds the server; ``None``: by its port.
        max_rows: ``MAX_ROWS``, maximum number of records in one request.
        max_explained: ``MAX_EXPLAINED``, maximum number of records in one request for explanations.
        max_warned: ``MAX_WARNED``, maximum number of records in one request for warnings.
        max_body_bytes: ``MAX_BODY_BYTES``, maximum size of a request body.
        max_held_bytes: ``MAX_HELD_BYTES``, memory budget of one worker for large bodies and responses.
        max_in_flight: ``MAX_IN_FLIGHT``, most whole requests of one worker at a time; more are refused with 503.
        max_connections: ``MAX_CONNECTIONS``, connections of one worker; for more, the longest idle one is closed.
        max_connections_per_peer: ``MAX_CONNECTIONS_PER_PEER``, the same for one client address; 0: no limit.
        log_level: ``LOG_LEVEL``; above ``info`` requests are not logged.
        default_model: ``DEFAULT_MODEL``, the model whose version ``/version`` returns as ``model_version``.
        api_keys_file: ``API_KEYS_FILE``, file of API keys, one entry a line; read again when it changes.
        api_keys: ``API_KEYS``, the same entries, separated by blanks; without either, no key is needed.
        rate_limit: ``RATE_LIMIT``, records that a key, or an address without one, may send; empty: any number.
        rate_limit_redis: ``RATE_LIMIT_REDIS``, URL of the Redis that counts for several machines.
        forwarded_allow_ips: ``FORWARDED_ALLOW_IPS``, proxies whose ``X-Forwarded-For`` and ``-Proto`` are believed.
        cors_origins: ``CORS_ORIGINS``, origins whose pages may read the responses; none by default.
        metrics: ``METRICS``, whether ``/metrics`` exists; ``METRICS_PORT`` turns it on too.
        metrics_port: ``METRICS_PORT``, TCP port of ``/metrics``; ``None``: that of the service.
        arrow: ``ARROW``, whether the server needs pyarrow; else Arrow streams are taken if it is installed.
        otlp_endpoint: ``OTEL_EXPORTER_OTLP_ENDPOINT``, the collector of traces; ``None``, also if another ``OTEL_``
            variable turns them off: there are none.
        git_commit: ``GIT_COMMIT`` or the platform's variable: the commit the API was built from, for ``/version``.
        prediction_log: settings of the prediction log; ``None``: there is none.
        shadow_models: ``SHADOW_MODELS``, candidates that score the same rows after the answer.
        canary_models: ``CANARY_MODELS``, candidates that serve a share of the callers.
        canary_share: ``CANARY_SHARE``, that share, from 0 to 1.
        candidate_timeout: ``CANDIDATE_TIMEOUT``, seconds for an answer of a candidate, which is then replaced.
        v2: ``V2``, whether the Open Inference Protocol V2 is spoken at ``/v2``.
        invocations: ``INVOCATIONS``, whose protocol ``/invocations`` speaks for the default model: that of
            ``sagemaker`` or ``mlflow``; ``None``: it does not exist.
    """

    host: str = "0.0.0.0"  # noqa: S104  the router of a container or dyno connects from outside
    port: int = 5000
    workers: int = 2
    threads: int = 4
    request_timeout: int = 20
    shutdown_delay: int = 0
    pid_file: str | None = None
    max_rows: int = 10_000
    max_explained: int = 100
    max_warned: int = 1_000
    max_body_bytes: int = 32 * 1024 * 1024
    max_held_bytes: int = 32 * 1024 * 1024
    max_in_flight: int = 160
    max_connections: int = 1000
    max_connections_per_peer: int = 0
    log_level: str = "info"
    default_model: str = "regression"
    api_keys_file: str | None = None
    api_keys: str | None = None
    rate_limit: str = ""
    rate_limit_redis: str | None = None
    forwarded_allow_ips: tuple[str, ...] = ("127.0.0.1", "::1")
    cors_origins: tuple[str, ...] = ()
    metrics: bool = False
    metrics_port: int | None = None
    arrow: bool = False
    otlp_endpoint: str | None = field(default=None, repr=False)
    git_commit: str | None = None
    prediction_log: LogSettings | None = None
    shadow_models: tuple[Candidate, ...] = ()
    canary_models: tuple[Candidate, ...] = ()
    canary_share: float = 0.05
    candidate_timeout: int = 5
    v2: bool = False
    invocations: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read ``environ``; an absent or empty variable has its default.

        Raises:
            SettingsError: a value is invalid; the message names the variable and the valid values.
        """
        _check_activation(environ)
        return cls(
            host=_text(environ, "HOST", cls.host, r"[A-Za-z0-9.:_-]+", "a host name or an IP address"),
            port=_integer(environ, "PORT", cls.port, 1, 65_535),
            workers=_integer(environ, "WEB_CONCURRENCY", cls.workers, 1, 256),
            threads=_integer(environ, "THREADS", cls.threads, 1, 256),
            request_timeout=_integer(environ, "REQUEST_TIMEOUT", cls.request_timeout, 1, 3600),
            shutdown_delay=_shutdown_delay(environ),
            pid_file=_path(environ, "PID_FILE"),
            max_rows=_integer(environ, "MAX_ROWS", cls.max_rows, 1, 10_000_000),
            max_explained=_integer(environ, "MAX_EXPLAINED", cls.max_explained, 1, 10_000_000),
            max_warned=_integer(environ, "MAX_WARNED", cls.max_warned, 1, 10_000_000),
            max_body_bytes=_integer(environ, "MAX_BODY_BYTES", cls.max_body_bytes, 1, 1024**3),
            max_held_bytes=_integer(environ, "MAX_HELD_BYTES", cls.max_held_bytes, 1, 64 * 1024**3),
            max_in_flight=_integer(environ, "MAX_IN_FLIGHT", cls.max_in_flight, 1, 100_000),
            max_connections=_integer(environ, "MAX_CONNECTIONS", cls.max_connections, 2, 100_000),
            max_connections_per_peer=_integer(
                environ, "MAX_CONNECTIONS_PER_PEER", cls.max_connections_per_peer, 0, 100_000
            ),
            log_level=_choice(environ, "LOG_LEVEL", cls.log_level, LOG_LEVELS),
            default_model=_text(environ, "DEFAULT_MODEL", cls.default_model, r"[^/\s]+", "the name of a model"),
            api_keys_file=environ.get("API_KEYS_FILE") or None,
            api_keys=environ.get("API_KEYS") or None,
            rate_limit=_text(
                environ,
                "RATE_LIMIT",
                cls.rate_limit,
                r"([1-9][0-9]{0,8}/(second|minute|hour|day))?",
                "a number of records and a time, such as 600/minute (second, minute, hour or day)",
            ),
            rate_limit_redis=_redis(environ),
            forwarded_allow_ips=_addresses(environ, "FORWARDED_ALLOW_IPS", cls.forwarded_allow_ips),
            cors_origins=_origins(environ, "CORS_ORIGINS"),
            metrics=_flag(environ, "METRICS", cls.metrics) or bool(environ.get("METRICS_PORT")),
            metrics_port=_metrics_port(environ),
            arrow=_flag(environ, "ARROW", cls.arrow),
            otlp_endpoint=_otlp_endpoint(environ),
            git_commit=_commit(environ),
            prediction_log=LogSettings.from_environ(environ),
            shadow_models=_shadows(environ),
            canary_models=_candidates(environ, "CANARY_MODELS", "canary"),
            canary_share=_share(environ, "CANARY_SHARE", cls.canary_share),
            candidate_timeout=_integer(environ, "CANDIDATE_TIMEOUT", cls.candidate_timeout, 1, 60),
            v2=_flag(environ, "V2", cls.v2),
            invocations=_invocations(environ),
        )

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All candidates."""
        return self.shadow_models + self.canary_models

    @property
    def needs_keys(self) -> bool:
        """Whether requests need an API key."""
        return self.api_keys_file is not None or self.api_keys is not None

    @property
    def is_public(self) -> bool:
        """Whether other machines may reach the server."""
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    @property
    def bind(self) -> list[str]:
        """``host:port`` of each address to listen on, with an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return [f"{host}:{port}" for port in (self.port, self.metrics_port) if port is not None]

    def check_address(self) -> None:
        """Check that ``HOST`` is an address of this machine, and that its ports are permitted and free.

        Raises:
            PortInUseError: another process listens on a port.
            SettingsError: the server cannot listen there; the message names the variable.
        """
        if self.metrics_port is not None:
            self._check_port("METRICS_PORT", self.metrics_port)
        self._check_port("PORT", self.port)

    def _check_port(self, variable: str, port: int) -> None:
        with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self.host, port))
            except (OSError, UnicodeError) as error:  # UnicodeError: a part of the name is empty or too long
                reason = getattr(error, "strerror", None) or str(error)
                if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                    raise PortInUseError(f"{variable} is {port}, which another process uses") from error
                if isinstance(error, PermissionError):
                    raise SettingsError(f"{variable} is {port}, which cannot be used: {reason}") from error
                raise SettingsError(
                    f"HOST is {self.host!r}, which cannot be used: {reason}; it must be an address of this machine, or "
                    "a name that resolves to one; unset, it is all IPv4 addresses"
                ) from error


def _integer(environ: Mapping[str, str], variable: str, default: int, low: int, high: int) -> int:
    text = environ.get(variable) or str(default)
    if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
        raise SettingsError(f"{variable} is {text!r}; it must be a whole number from {low} to {high}")
    return int(text)


def _flag(environ: Mapping[str, str], variable: str, default: bool) -> bool:
    return _choice(environ, variable, str(default).lower(), ("true", "false")) == "true"


def _shutdown_delay(environ: Mapping[str, str]) -> int:
    # Heroku's router sends requests for a moment after SIGTERM. gunicorn.conf.py ends the server after 25 s, of which
    # requests that are accepted last need some.
    return _integer(environ, "SHUTDOWN_DELAY", 5 if environ.get("DYNO") else Settings.shutdown_delay, 0, 15)


def _check_activation(environ: Mapping[str, str]) -> None:
    """Check the variables of systemd's socket activation, which gunicorn reads."""
    for variable in ("LISTEN_FDS", "LISTEN_PID"):
        _integer(environ, variable, 0, 0, 10**9)


def _path(environ: Mapping[str, str], variable: str) -> str | None:
    path = environ.get(variable) or None
    # The server and the commands run in different folders.
    if path is not None and not path.startswith("/"):
        raise SettingsError(f"{variable} is {path!r}; it must be an absolute path, such as /run/ml-api/server.pid")
    return path


def _redis(environ: Mapping[str, str]) -> str | None:
    url = environ.get("RATE_LIMIT_REDIS") or None
    # It may contain a password, which no message repeats.
    if url is not None and not re.match(r"rediss?://.", url):
        raise SettingsError("RATE_LIMIT_REDIS must begin with redis:// or rediss://")
    return url


def _addresses(environ: Mapping[str, str], variable: str, default: tuple[str, ...]) -> tuple[str, ...]:
    found = _list(environ, variable) or default
    for text in found:
        try:
            if text != "*":
                ip_network(text)
        except ValueError as error:
            raise SettingsError(
                f"{variable} has {text!r}; it must be *, or addresses and networks such as 10.0.0.0/8, with commas"
            ) from error
    return found


def _origins(environ: Mapping[str, str], variable: str) -> tuple[str, ...]:
    found = _list(environ, variable)
    for text in found:
        if not re.fullmatch(r"\*|https?://[a-z0-9.:\[\]-]+", text):
            raise SettingsError(
                f"{variable} has {text!r}; it must be *, or origins such as https://app.example, with commas"
            )
    return found


def _list(environ: Mapping[str, str], variable: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, environ.get(variable, "").split(","))))


def _shadows(environ: Mapping[str, str]) -> tuple[Candidate, ...]:
    found = _candidates(environ, "SHADOW_MODELS", "shadow")
    if found and not environ.get("PREDICTION_LOG"):
        raise SettingsError(
            "SHADOW_MODELS is set, and PREDICTION_LOG is not: what a candidate predicts is kept in the prediction log, "
            "beside what was answered (docs/shadow.md)"
        )
    return found


def _candidates(environ: Mapping[str, str], variable: str, kind: str) -> tuple[Candidate, ...]:
    found: dict[str, Candidate] = {}
    for entry in _list(environ, variable):
        name, separator, path = map(str.strip, entry.partition("="))
        if not separator or not re.fullmatch(r"[^/\s]+", name):
            raise SettingsError(f"{variable} has {entry!r}; it must be name=PATH, several of them with commas")
        if name in found:
            raise SettingsError(f"{variable} names the model {name} twice; a model has one {kind} at a time")
        if not path.startswith("/"):
            raise SettingsError(f"{variable}: the path of {name} is {path!r}; it must be absolute")
        if not (os.path.isdir(path) or (path.endswith(".whl") and os.path.isfile(path))):
            raise SettingsError(f"{variable}: {name} is {path}, which is neither the folder of a bundle nor a wheel")
        found[name] = Candidate(kind, name, path)
    return tuple(found.values())


def _invocations(environ: Mapping[str, str]) -> str | None:
    return _choice(environ, "INVOCATIONS", "", ("sagemaker", "mlflow")) if environ.get("INVOCATIONS") else None


def _share(environ: Mapping[str, str], variable: str, default: float) -> float:
    text = environ.get(variable) or str(default)
    if not re.fullmatch(r"0?\.[0-9]{1,9}|[01](\.0*)?", text) or float(text) > 1:
        raise SettingsError(f"{variable} is {text!r}; it must be a share from 0 to 1, such as 0.05")
    return float(text)


def _metrics_port(environ: Mapping[str, str]) -> int | None:
    if not environ.get("METRICS_PORT"):
        return None
    port = _integer(environ, "METRICS_PORT", 0, 1, 65_535)
    if port == _integer(environ, "PORT", Settings.port, 1, 65_535):
        raise SettingsError(f"METRICS_PORT is {port}, which is PORT too; set METRICS=true instead to use one port")
    return port


def _otlp_endpoint(environ: Mapping[str, str]) -> str | None:
    """Return the collector of traces; the libraries would only warn of a value that they do not know."""
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    named = [variable for variable in endpoints if environ.get(variable)]
    if not named or _flag(environ, "OTEL_SDK_DISABLED", False):
        return None
    if _choice(environ, "OTEL_TRACES_EXPORTER", "otlp", ("otlp", "none")) == "none":
        return None
    for variable in named:
        # It may contain a password, which no message repeats.
        if not re.match(r"https?://[^/]", environ[variable]):
            raise SettingsError(f"{variable} must begin with http:// or https://, and a host")
    for variable in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        # The library would leave out a header that it can't parse, and log it: it mostly is a secret.
        if not re.fullmatch(r"(\s*[^\s=,;]+\s*=[^,;]*(,|$))*", environ.get(variable, "")):
            raise SettingsError(f"{variable} must be name=value, several of them with commas, values percent-encoded")
    for variable in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"):
        _choice(environ, variable, "http/protobuf", ("http/protobuf",))
    if "ratio" in _choice(environ, "OTEL_TRACES_SAMPLER", SAMPLERS[0], SAMPLERS):
        _text(environ, "OTEL_TRACES_SAMPLER_ARG", "1", r"0(\.[0-9]+)?|1(\.0+)?", "a number from 0 to 1")
    return environ[named[0]]


def _text(environ: Mapping[str, str], variable: str, default: str, pattern: str, allowed: str) -> str:
    text = environ.get(variable) or default
    if not re.fullmatch(pattern, text):
        raise SettingsError(f"{variable} is {text!r}; it must be {allowed}")
    return text


def _database(environ: Mapping[str, str], place: str) -> str:
    """Return the URL of the prediction log's database, as SQLAlchemy takes it."""
    variable = "PREDICTION_LOG"
    if place == "DATABASE_URL":
        variable, place = place, environ.get("DATABASE_URL", "")
        if not place:
            raise SettingsError("PREDICTION_LOG is DATABASE_URL, and that variable is not set")
    scheme, separator, rest = place.partition("://")
    if separator and scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if separator and scheme != "sqlite":
        # The rest may be a password.
        raise SettingsError(
            f"{variable} begins with {scheme}://; it must be postgresql://..., sqlite:///... or the path of a file"
        )
    if environ.get("DYNO"):
        raise SettingsError(
            f"{variable} is an SQLite file, and this platform (DYNO is set) discards its disk at each restart, and "
            "the log with it; use PostgreSQL: PREDICTION_LOG=DATABASE_URL"
        )
    path = place.removeprefix("sqlite:///")
    if not path.startswith("/"):
        # The server and the commands run in different folders.
        raise SettingsError(f"{variable} is {place!r}; the path of the file must be absolute, such as /var/lib/log.db")
    return f"sqlite:///{path}"


def _commit(environ: Mapping[str, str]) -> str | None:
    # Our variable; Heroku's at build time; Heroku's at run time.
    for variable in ("GIT_COMMIT", "SOURCE_VERSION", "HEROKU_SLUG_COMMIT"):
        if environ.get(variable):
            return _text(environ, variable, "", r"[0-9A-Za-z._/+-]{1,100}", "a commit, such as 97be0ea")
    return None


def _choice(environ: Mapping[str, str], variable: str, default: str, allowed: tuple[str, ...]) -> str:
    text = environ.get(variable) or default
    if text.lower() not in allowed:
        raise SettingsError(f"{variable} is {text!r}; it must be one of {', '.join(allowed)}")
    return text.lower()

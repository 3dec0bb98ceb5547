from __future__ import annotations

import socket
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from ml_api.settings import Candidate, LogSettings, PortInUseError, Settings, SettingsError

VARIABLES = {
    "HOST": ("127.0.0.1", "host", "127.0.0.1"),
    "PORT": ("8080", "port", 8080),
    "WEB_CONCURRENCY": ("3", "workers", 3),
    "THREADS": ("8", "threads", 8),
    "REQUEST_TIMEOUT": ("7", "request_timeout", 7),
    "SHUTDOWN_DELAY": ("4", "shutdown_delay", 4),
    "PID_FILE": ("/run/ml-api.pid", "pid_file", "/run/ml-api.pid"),
    "MAX_ROWS": ("5", "max_rows", 5),
    "MAX_EXPLAINED": ("6", "max_explained", 6),
    "MAX_WARNED": ("7", "max_warned", 7),
    "MAX_BODY_BYTES": ("1000", "max_body_bytes", 1000),
    "MAX_HELD_BYTES": ("2000", "max_held_bytes", 2000),
    "MAX_IN_FLIGHT": ("9", "max_in_flight", 9),
    "MAX_CONNECTIONS": ("10", "max_connections", 10),
    "MAX_CONNECTIONS_PER_PEER": ("11", "max_connections_per_peer", 11),
    "LOG_LEVEL": ("WARNING", "log_level", "warning"),
    "DEFAULT_MODEL": ("rides", "default_model", "rides"),
    "API_KEYS_FILE": ("/run/keys", "api_keys_file", "/run/keys"),
    "API_KEYS": ("a:read:00", "api_keys", "a:read:00"),
    "RATE_LIMIT": ("600/minute", "rate_limit", "600/minute"),
    "RATE_LIMIT_REDIS": ("redis://h/0", "rate_limit_redis", "redis://h/0"),
    "FORWARDED_ALLOW_IPS": ("10.0.0.0/8, ::1", "forwarded_allow_ips", ("10.0.0.0/8", "::1")),
    "CORS_ORIGINS": (
        "https://app.example,http://[::1]:3000",
        "cors_origins",
        ("https://app.example", "http://[::1]:3000"),
    ),
    "METRICS": ("true", "metrics", True),
    "METRICS_PORT": ("9100", "metrics_port", 9100),
    "ARROW": ("true", "arrow", True),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("http://localhost:4318", "otlp_endpoint", "http://localhost:4318"),
    "GIT_COMMIT": ("97be0ea", "git_commit", "97be0ea"),
    "CANARY_MODELS": ("rides=/", "canary_models", (Candidate("canary", "rides", "/"),)),
    "CANARY_SHARE": ("0.2", "canary_share", 0.2),
    "CANDIDATE_TIMEOUT": ("3", "candidate_timeout", 3),
    "V2": ("true", "v2", True),
    "INVOCATIONS": ("SageMaker", "invocations", "sagemaker"),
    "PREDICTION_LOG": ("/log.db", "prediction_log", LogSettings("sqlite:////log.db")),
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_defaults() -> None:
    assert Settings.from_environ({}) == Settings(
        host="0.0.0.0",
        port=5000,
        workers=2,
        threads=4,
        request_timeout=20,
        shutdown_delay=0,
        pid_file=None,
        max_rows=10_000,
        max_explained=100,
        max_warned=1_000,
        max_body_bytes=33_554_432,
        max_held_bytes=33_554_432,
        max_in_flight=160,
        max_connections=1000,
        max_connections_per_peer=0,
        log_level="info",
        default_model="regression",
        api_keys_file=None,
        api_keys=None,
        rate_limit="",
        rate_limit_redis=None,
        forwarded_allow_ips=("127.0.0.1", "::1"),
        cors_origins=(),
        metrics=False,
        metrics_port=None,
        otlp_endpoint=None,
        git_commit=None,
        prediction_log=None,
        shadow_models=(),
        canary_models=(),
        canary_share=0.05,
        candidate_timeout=5,
        v2=False,
        invocations=None,
    )


@pytest.mark.parametrize(("variable", "text", "name", "value"), [(v, *rest) for v, rest in VARIABLES.items()])
def test_each_variable_is_read(variable: str, text: str, name: str, value: object) -> None:
    assert getattr(Settings.from_environ({variable: text}), name) == value


def test_every_field_has_its_variable() -> None:
    names = {name for _, name, _ in VARIABLES.values()} | {"shadow_models"}  # it needs another variable
    assert names == set(Settings.__dataclass_fields__)


def test_an_empty_variable_counts_as_unset() -> None:
    """As docker compose and CI pass on variables that are not set."""
    assert Settings.from_environ(dict.fromkeys(VARIABLES, "")) == Settings()


def test_other_variables_are_left_alone() -> None:
    assert Settings.from_environ({"PORTS": "x", "HOME": "/"}) == Settings()


@pytest.mark.parametrize("text", ["abc", "0", "65536", "-1", "80 80", "8e1", "80.0", "٣", " 80", "9" * 5000])
def test_bad_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"PORT": text})
    assert str(caught.value) == f"PORT is {text!r}; it must be a whole number from 1 to 65535"


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("HOST", "a b", "a host name or an IP address"),
        ("WEB_CONCURRENCY", "0", "a whole number from 1 to 256"),
        ("WEB_CONCURRENCY", "auto", "a whole number from 1 to 256"),
        ("THREADS", "many", "a whole number from 1 to 256"),
        ("MAX_ROWS", "0", "a whole number from 1 to 10000000"),
        ("MAX_BODY_BYTES", "32M", "a whole number from 1 to 1073741824"),
        ("LOG_LEVEL", "verbose", "one of debug, info, warning, error"),
        ("METRICS", "9100", "one of true, false"),
        *(
            ("RATE_LIMIT", text, "a number of records and a time, such as 600/minute (second, minute, hour or day)")
            for text in ("600", "0/minute", "600 per minute", "6/fortnight")
        ),
        ("METRICS_PORT", "x", "a whole number from 1 to 65535"),
        ("DEFAULT_MODEL", "a/b", "the name of a model"),
        ("GIT_COMMIT", "<script>", "a commit, such as 97be0ea"),
        ("SHUTDOWN_DELAY", "16", "a whole number from 0 to 15"),
        ("SHUTDOWN_DELAY", "2.5", "a whole number from 0 to 15"),
        ("PID_FILE", "server.pid", "an absolute path, such as /run/ml-api/server.pid"),
        ("LISTEN_FDS", "junk", "a whole number from 0 to 1000000000"),
        ("V2", "yes", "one of true, false"),
        ("INVOCATIONS", "azure", "one of sagemaker, mlflow"),
        ("LISTEN_PID", "junk", "a whole number from 0 to 1000000000"),
    ],
)
def test_bad_value_is_refused_by_name(variable: str, text: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({variable: text})
    assert str(caught.value) == f"{variable} is {text!r}; it must be {allowed}"


@pytest.mark.parametrize(
    ("environ", "commit"),
    [
        ({"HEROKU_SLUG_COMMIT": "c"}, "c"),
        ({"SOURCE_VERSION": "b", "HEROKU_SLUG_COMMIT": "c"}, "b"),
        ({"GIT_COMMIT": "a", "SOURCE_VERSION": "b", "HEROKU_SLUG_COMMIT": "c"}, "a"),
        ({"GIT_COMMIT": "", "SOURCE_VERSION": "", "HEROKU_SLUG_COMMIT": ""}, None),
    ],
)
def test_commit_is_ours_or_the_platforms(environ: dict[str, str], commit: str | None) -> None:
    assert Settings.from_environ(environ).git_commit == commit


@pytest.mark.parametrize(
    ("host", "is_public"),
    [
        *(("0.0.0.0", True), ("::", True), ("192.0.2.1", True), ("api.example", True)),
        *(("127.0.0.1", False), ("127.8.8.8", False), ("::1", False), ("localhost", False)),
    ],
)
def test_address_that_other_machines_may_reach_is_public(host: str, is_public: bool) -> None:
    assert Settings(host=host).is_public is is_public


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("RATE_LIMIT_REDIS", "http://:canary@h", "must begin with redis:// or rediss://"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1/8", "has '10.0.0.1/8'; it must be *, or addresses and networks such as"),
        ("FORWARDED_ALLOW_IPS", "::1,proxy", "has 'proxy'; it must be *, or addresses and networks such as"),
        ("CORS_ORIGINS", "https://a.example/", "has 'https://a.example/'; it must be *, or origins such as"),
        ("CORS_ORIGINS", "*,a.example", "has 'a.example'; it must be *, or origins such as"),
    ],
)
def test_bad_list_or_address_is_refused_by_name(variable: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({variable: text})
    assert str(caught.value).startswith(f"{variable} {message}")
    assert "canary" not in str(caught.value)


def test_router_of_the_platform_is_waited_for() -> None:
    assert Settings.from_environ({"DYNO": "web.1"}).shutdown_delay == 5
    assert Settings.from_environ({"DYNO": "web.1", "SHUTDOWN_DELAY": "0"}).shutdown_delay == 0


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("CANARY_MODELS", "rides", "CANARY_MODELS has 'rides'; it must be name=PATH, several of them with commas"),
        ("CANARY_MODELS", "a=/,a=/tmp", "CANARY_MODELS names the model a twice; a model has one canary at a time"),
        ("CANARY_MODELS", "a=bundle", "CANARY_MODELS: the path of a is 'bundle'; it must be absolute"),
        ("SHADOW_MODELS", "a=/none.whl", "SHADOW_MODELS: a is /none.whl, which is neither the folder of a bundle nor"),
        ("SHADOW_MODELS", "a=/dev/null", "SHADOW_MODELS: a is /dev/null, which is neither the folder of a bundle nor"),
        ("SHADOW_MODELS", "a=/", "SHADOW_MODELS is set, and PREDICTION_LOG is not: what a candidate predicts is kept"),
        ("CANARY_SHARE", "5%", "CANARY_SHARE is '5%'; it must be a share from 0 to 1, such as 0.05"),
        ("CANARY_SHARE", "1.5", "CANARY_SHARE is '1.5'; it must be"),
        ("CANDIDATE_TIMEOUT", "0", "CANDIDATE_TIMEOUT is '0'; it must be a whole number from 1 to 60"),
    ],
)
def test_bad_candidate_is_refused_by_name(variable: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({variable: text})
    assert str(caught.value).startswith(message)


def test_shadows_need_the_prediction_log_and_canaries_do_not(tmp_path: Path) -> None:
    wheel = tmp_path / "rides-1.whl"
    wheel.touch()
    found = Settings.from_environ({"SHADOW_MODELS": f"rides={wheel}, boats=/", "PREDICTION_LOG": "/log.db"})
    assert found.candidates == (Candidate("shadow", "rides", str(wheel)), Candidate("shadow", "boats", "/"))


@pytest.mark.parametrize(("text", "share"), [("0", 0.0), ("1", 1.0), (".25", 0.25), ("1.0", 1.0)])
def test_shares(text: str, share: float) -> None:
    assert Settings.from_environ({"CANARY_SHARE": text}).canary_share == share


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(("host", "bind"), [("127.0.0.1", "127.0.0.1:5000"), ("::1", "[::1]:5000")])
def test_bind(host: str, bind: str) -> None:
    assert Settings(host=host).bind == [bind]


def test_port_of_the_metrics_turns_them_on_and_is_listened_on() -> None:
    settings = Settings.from_environ({"METRICS_PORT": "9100", "HOST": "127.0.0.1"})
    assert settings.metrics
    assert settings.bind == ["127.0.0.1:5000", "127.0.0.1:9100"]


def test_port_of_the_metrics_is_not_that_of_the_service() -> None:
    with pytest.raises(SettingsError, match="^METRICS_PORT is 5000, which is PORT too; set METRICS=true instead"):
        Settings.from_environ({"METRICS_PORT": "5000"})


def test_port_of_the_metrics_that_is_used_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"^METRICS_PORT is {port}, which another process uses$"):
            Settings(port=free_port(), metrics=True, metrics_port=port).check_address()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1", "0.0.0.0", "::"])
def test_address_of_this_machine_can_be_listened_on(host: str) -> None:
    Settings(host=host, port=free_port()).check_address()


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "127.0.0.1:80", "a" * 64, "a..b"])
def test_host_that_is_no_address_of_this_machine_is_refused_by_name(host: str) -> None:
    with pytest.raises(
        SettingsError, match=f"^HOST is '{host}', which cannot be used: .*; it must be an address of this"
    ):
        Settings(host=host, port=free_port()).check_address()


def test_port_that_is_used_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"^PORT is {port}, which another process uses$"):
            Settings(port=port).check_address()


def test_readme_lists_every_variable_with_its_default() -> None:
    readme = Path(__file__).parents[1].joinpath("README.md").read_text()
    names = {variable: name for variable, (_, name, _) in VARIABLES.items()} | {"SHADOW_MODELS": "shadow_models"}
    for variable, name in names.items():
        default = getattr(Settings(), name)
        text = str(default).lower() if isinstance(default, bool) else default
        if isinstance(default, tuple):
            text = ",".join(default)
        assert f"| `{variable}` | {'' if text in (None, '') else f'`{text}` '}|" in readme

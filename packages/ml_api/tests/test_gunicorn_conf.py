from __future__ import annotations

import gc
import resource
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_api.connection import MAX_DISCARDED, _nothing, finish, serving
from ml_api.worker import Worker

CONF = Path(__file__).parents[1] / "gunicorn.conf.py"
ROUTER_IDLE_SECONDS = 90
PLATFORM_KILLS_AFTER_SECONDS = 30
#: Callers that stall and may all have come to one worker.
STALLED = 200


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("REQUEST_TIMEOUT", "7")
    monkeypatch.setattr(Worker, "patience", 0)
    monkeypatch.setenv("LOG_LEVEL", "warning")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    return runpy.run_path(str(CONF))


@pytest.fixture
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()
    serving(_nothing)


def test_settings_come_from_the_environment(conf: dict[str, Any]) -> None:
    assert (conf["bind"], conf["workers"], conf["loglevel"]) == ("127.0.0.1:8123", 3, "warning")
    assert Worker.patience == 7


def test_decisions(conf: dict[str, Any]) -> None:
    assert conf["wsgi_app"] == "ml_api.wsgi:app"
    assert conf["worker_class"] == "ml_api.worker.Worker"
    assert conf["settings"].request_timeout < conf["graceful_timeout"]
    assert STALLED < conf["threads"] < conf["worker_connections"]
    # The listener, the models' files and libraries need some as well.
    assert conf["worker_connections"] + 50 < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert conf["keepalive"] > ROUTER_IDLE_SECONDS
    assert conf["graceful_timeout"] < PLATFORM_KILLS_AFTER_SECONDS
    assert conf["control_socket_disable"] is True
    assert conf["preload_app"] is False
    assert conf["worker_tmp_dir"] == ("/dev/shm" if Path("/dev/shm").is_dir() else None)
    assert conf["accesslog"] is None


def test_gunicorns_debugging_quotes_requests_and_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert runpy.run_path(str(CONF))["loglevel"] == "info"


def test_bad_port_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(CONF))
    assert caught.value.code == "ml_api does not start: PORT is 'http'; it must be a whole number from 1 to 65535"


@pytest.mark.usefixtures("unfrozen")
def test_what_is_loaded_is_frozen(conf: dict[str, Any]) -> None:
    conf["post_worker_init"](None)
    assert gc.get_freeze_count() > 0


@pytest.mark.usefixtures("unfrozen")
def test_application_gets_the_means_to_close(conf: dict[str, Any]) -> None:
    class Request:
        closed = False

        def force_close(self) -> None:
            self.closed = True

    request = Request()
    conf["pre_request"](None, request)
    finish({"CONTENT_LENGTH": str(MAX_DISCARDED + 1)})
    assert request.closed

from __future__ import annotations

import gc
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_api.connection import _nothing, finish, serving

CONF = Path(__file__).parents[1] / "gunicorn.conf.py"
ROUTER_IDLE_SECONDS = 90
PLATFORM_KILLS_AFTER_SECONDS = 30


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("THREADS", "5")
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
    assert (conf["bind"], conf["workers"], conf["threads"], conf["loglevel"]) == ("127.0.0.1:8123", 3, 5, "warning")


def test_decisions(conf: dict[str, Any]) -> None:
    assert conf["wsgi_app"] == "ml_api.wsgi:app"
    assert conf["worker_class"] == "gthread"
    assert conf["keepalive"] > ROUTER_IDLE_SECONDS
    assert conf["graceful_timeout"] < PLATFORM_KILLS_AFTER_SECONDS
    assert conf["control_socket_disable"] is True
    assert conf["preload_app"] is False
    assert conf["worker_tmp_dir"] == ("/dev/shm" if Path("/dev/shm").is_dir() else None)
    assert conf["accesslog"] is None


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
    finish({"wsgi.input": None, "wsgi.input_terminated": True, "CONTENT_LENGTH": "1"})
    assert request.closed

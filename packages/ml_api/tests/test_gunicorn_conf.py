from __future__ import annotations

import gc
import os
import resource
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml_api.cli.main import main
from ml_api.settings import Settings, SettingsError
from ml_api.worker import FLUSH_SECONDS, Worker
from ml_api.worker_loads import WorkerLoads

CONF = Path(__file__).parents[1] / "gunicorn.conf.py"
ROUTER_IDLE_SECONDS = 90
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
PLATFORM_KILLS_AFTER_SECONDS = 30


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    monkeypatch.setenv("PORT", "8123")
    monkeypatch.setenv("HOST", "127.0.0.1")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("REQUEST_TIMEOUT", "7")
    monkeypatch.setattr(Worker, "settings", Worker.settings)
    monkeypatch.setattr(Worker, "loads", None)
    monkeypatch.setattr(Worker, "shared", None)
    monkeypatch.setattr(Worker, "served", None)
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    monkeypatch.setenv("LOG_LEVEL", "warning")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    return runpy.run_path(str(CONF))


@pytest.fixture
def unfrozen() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    gc.unfreeze()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_settings_come_from_the_environment(conf: dict[str, Any]) -> None:
    assert (conf["bind"], conf["workers"], conf["loglevel"]) == (["127.0.0.1:8123"], 3, "warning")
    assert Worker.settings.request_timeout == 7


def test_decisions(conf: dict[str, Any]) -> None:
    assert conf["wsgi_app"] == "ml_api.wsgi:app"
    assert conf["worker_class"] == "ml_api.worker.Worker"
    assert conf["settings"].request_timeout < conf["graceful_timeout"]
    # The listener, the models' files and libraries need some as well.
    assert conf["settings"].max_connections + 50 < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert conf["keepalive"] > ROUTER_IDLE_SECONDS
    assert conf["graceful_timeout"] < PLATFORM_KILLS_AFTER_SECONDS
    # What the last connection asks must be answered, and the prediction log written, after the longest delay.
    with pytest.raises(SettingsError, match="^SHUTDOWN_DELAY is '16'; it must be a whole number from 0 to 15$"):
        Settings.from_environ({"SHUTDOWN_DELAY": "16"})
    assert conf["graceful_timeout"] - FLUSH_SECONDS - 15 > 5
    assert conf["control_socket_disable"] is True
    assert conf["preload_app"] is False
    assert conf["worker_tmp_dir"] == ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    assert conf["accesslog"] is None


def test_gunicorns_debugging_quotes_requests_and_stays_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert runpy.run_path(str(CONF))["loglevel"] == "info"


def test_bad_port_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(CONF))
    assert caught.value.code == "ml_api does not start: PORT is 'http'; it must be a whole number from 1 to 65535"


def test_redacting_what_is_no_field_refuses_to_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("model_kit.scoring.installed.field_names", lambda _: {"zone"})
    monkeypatch.setattr(Worker, "served", None)
    monkeypatch.setenv("PREDICTION_LOG", str(tmp_path / "log.db"))
    assert main(["migrate"]) == 0
    monkeypatch.setenv("PREDICTION_LOG_REDACT", "zone,zoen")
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(CONF))
    assert (
        caught.value.code == "ml_api does not start: PREDICTION_LOG_REDACT has 'zoen', which is no field of any model"
    )


@pytest.mark.usefixtures("unfrozen")
def test_what_is_loaded_is_frozen(conf: dict[str, Any]) -> None:
    conf["post_worker_init"](None)
    assert gc.get_freeze_count() > 0


@pytest.mark.usefixtures("unfrozen")
def test_what_the_workers_share_is_frozen(conf: dict[str, Any]) -> None:
    conf["when_ready"](SimpleNamespace(stop=None, systemd=False, murder_workers=None))
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize("arrow", ["true", "false"])
def test_master_imports_nothing_that_starts_a_thread(arrow: str) -> None:
    """ONNX Runtime does, and its threads would not survive the fork; pyarrow is imported where it is asked for."""
    script = """
import os, runpy, sys
runpy.run_path("gunicorn.conf.py")
assert "ml_api.app" in sys.modules and "numpy" in sys.modules
assert "onnxruntime" not in sys.modules and ("pyarrow" in sys.modules) == (os.environ["ARROW"] == "true")
if sys.platform == "linux":
    assert len(os.listdir("/proc/self/task")) == 1
"""
    environ = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    path = os.pathsep.join(filter(None, sys.path))
    environ |= {"PYTHONPATH": path, "ARROW": arrow}
    subprocess.run([sys.executable, "-c", script], cwd=CONF.parent, env=environ, check=True)


def test_arrow_without_pyarrow_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ModuleNotFoundError('no', name='pyarrow')")
    environ = {**os.environ, "ARROW": "true", "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, str(CONF)]
    done = subprocess.run(command, cwd=CONF.parent, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "ml_api does not start: ARROW needs pyarrow, which is not installed; "
        "pip install --no-deps -r requirements/tables.txt\n"
    )


def test_load_slot_of_an_exited_worker_is_released(conf: dict[str, Any]) -> None:
    loads = WorkerLoads(1)

    class Exited:
        load_slot = loads.acquire()

    Exited.load_slot.publish(0)
    other = loads.acquire()
    other.publish(1)
    assert other.is_overloaded()
    conf["child_exit"](None, Exited)
    assert not other.is_overloaded()

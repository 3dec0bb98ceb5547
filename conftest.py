"""What holds for the tests of every package: no network, nothing of the user's settings, no empty run."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A machine that does other things at the same time makes no test fail.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# Before joblib is imported, here and by programs that a test starts: the data of tests are small, and a process that
# imports scikit-learn costs more than all of their folds.
os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")

_guard = {"on": False}
_HOST_EVENTS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_ADDRESS_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
#: What a machine of CI may lack, in the words of the skips. All else is installed by .ci/run, or belongs to Linux.
_MAY_LACK = (
    *("Docker engine", "real data", "Kaggle files", "shap is installed for", "root may not mount", "needs root"),
    "the repository's history",
)
_SETTINGS = {"MODEL", "PORT", "NETRC", "MODEL_DIR", "GIT_COMMIT", "SOURCE_VERSION", "HEROKU_SLUG_COMMIT"}


class NetworkRefusedError(RuntimeError):
    """A test reached for another machine."""


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: what it refuses, no library in this process can do, whatever it is written in.

    Its limits: programs that a test starts are not held by it. They get proxy settings that lead nowhere.
    """
    if not _guard["on"]:
        return
    if event in _HOST_EVENTS:
        host = arguments[0]
    elif event in _ADDRESS_EVENTS and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host and not _is_loopback(host.decode() if isinstance(host, bytes) else str(host)):
        raise NetworkRefusedError(f"tests stay on this machine; this one reached for {host}")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Generator[None]:
    """Hold every test to loopback."""
    _guard["on"] = True
    yield
    _guard["on"] = False


@pytest.fixture(autouse=True, scope="session")
def no_user_settings() -> Generator[None]:
    """Nothing of the user's pip, index, proxy or server settings; proxies that lead nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PIP_", "PACKAGE_INDEX_", "TWINE_", "UV_", "GUNICORN_")) or name in _SETTINGS:
                patch.delenv(name)
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1,localhost")
        yield


def _require_tests(config: pytest.Config, collected: Iterable[Path]) -> None:
    """Refuse a run of everything that finds no test in one of the test folders."""
    chosen = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    narrowed = any(config.getoption(name, None) for name in ("keyword", "markexpr", "lf", "deselect"))
    if chosen or narrowed:
        return
    paths = set(collected)
    empty = [name for name in config.args if not any(path.is_relative_to(Path(name).resolve()) for path in paths)]
    if empty:
        raise pytest.UsageError(f"no test was collected in {', '.join(empty)}")


def pytest_collection_finish(session: pytest.Session) -> None:
    """A run of everything that finds no test in one of the test folders is red."""
    # With pytest-xdist the processes collect, and the one that starts them is told what they found.
    if not session.config.getoption("numprocesses", None):
        _require_tests(session.config, (item.path for item in session.items))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Iterable[str]) -> None:
    """The same with pytest-xdist."""
    _require_tests(node.config, (node.config.rootpath / name.partition("::")[0] for name in ids))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """In CI a test that is skipped for want of what must be there is red, and not quietly left out."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo else ""
        if not any(words in reason for words in _MAY_LACK):
            report.outcome, report.longrepr = "failed", f"{item.nodeid} must run in CI: {reason}"
    return report

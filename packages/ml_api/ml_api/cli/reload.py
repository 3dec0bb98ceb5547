"""``ml-api reload``: replace the models of a running server by what is installed, or in ``MODEL_DIR``, now."""

from __future__ import annotations

import argparse
import os
import signal
import time
from dataclasses import replace
from typing import Any

from ml_api.pid_file import RunningServer, path_of
from ml_api.settings import Settings, SettingsError

_HELP = """\
Reload the models of the server of this machine, user and PORT (or PID_FILE), as SIGHUP does. A bundle that was put into
MODEL_DIR, or a wheel of a model that was installed, is checked, loaded beside the old one, and scores its golden row;
then new workers replace the old ones, which finish their requests. Nothing changes if a model is damaged, misses its
golden row, is not one of MODEL_SHA256, was trained with other code than is installed, or has other fields or another
target than the served one: callers would have to change, which takes a restart.

Exit status: 0 the server serves what is installed now; 1 nothing has changed, and the message says why.
"""
_INTERVAL = 0.05


def add(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "reload",
        help="have the running server serve the models that are installed now, if all of them work",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, help="of the server (default: PORT, else 5000)")
    parser.add_argument(
        "--timeout", type=float, default=180, metavar="SECONDS", help="to wait for the outcome (default: 180)"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    settings = Settings.from_environ(os.environ)
    if options.port is not None:
        settings = replace(settings, port=options.port)
    server = RunningServer(path_of(settings))
    report = _reload(server, time.monotonic() + options.timeout)
    if reasons := report["reasons"]:
        texts = [": ".join(filter(None, reason)) for reason in reasons.items()]
        raise SettingsError("\n  ".join(["not reloaded, the server keeps its models:", *texts]))
    for line in report["lines"]:
        print(line)


def _reload(server: RunningServer, give_up: float) -> dict[str, Any]:
    """Send SIGHUP; returns the report of the first reload that has begun afterwards."""
    asked = None
    while True:
        found = server.read()
        if found is not None and asked is None:
            asked = time.monotonic()
            _send(found[0])
        elif found is not None and asked is not None and found[1].get("began", 0) >= asked:
            return found[1]
        elif server.has_ended() or server.is_stopping():
            raise SettingsError("not reloaded: the server is stopping, or has ended")
        elif time.monotonic() > give_up:
            raise SettingsError("the server has not reloaded in time; its log will say what became of it")
        time.sleep(_INTERVAL)


def _send(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError as error:
        raise SettingsError("not reloaded: the server has ended") from error
    except PermissionError as error:
        raise SettingsError(
            f"process {pid}, the server, belongs to another user; run the command as that one"
        ) from error

"""Every decision about processes and connections, each with its reason.

Run from this folder: ``gunicorn``.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from ml_api import connection
from ml_api.logs import JSONFormatter
from ml_api.memory import trim
from ml_api.settings import Settings, SettingsError
from ml_api.worker import Worker
from ml_api.worker_loads import Shares

try:
    settings = Settings.from_environ(os.environ)
except SettingsError as error:
    # One line and status 1; gunicorn would show a traceback.
    sys.exit(f"ml_api does not start: {error}")


class JSONLogger(Logger):  # type: ignore[misc]
    """gunicorn's own log in the shape of ours; without a log of requests, of which we write the one line."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JSONFormatter())


wsgi_app = "ml_api.wsgi:app"
proc_name = "ml_api"
bind = settings.bind

# gunicorn's threads, with an end to waiting for a client: see ml_api/worker.py.
worker_class = "ml_api.worker.Worker"
Worker.patience = settings.request_timeout
# Connections are shared out evenly: see ml_api/worker_loads.py. Made here, in the master, so that all workers see it.
Worker.shares = Shares(settings.workers)
# Processes are what uses the cores: scoring a row is Python half of the time.
workers = settings.workers
# A connection whose request is under way has a thread; an idle one has none. Those that stall must not use them up.
threads = 500
# Beyond these a worker lets connections wait in the listener's queue.
worker_connections = 1000
# Each is a descriptor, and accepting one without a descriptor to spare would end the worker. Many systems give 1024.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 65_536, most))
# One ONNX thread per worker is model_kit's choice; this keeps numpy's libraries from starting one per core in each.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# ONNX Runtime's threads and locks do not survive a fork, so each worker loads its own models, and takes its first
# connection only then. What starts no thread is imported once, here, after the variables above are set: the workers
# share its memory and need not import it, both at once.
preload_app = False
importlib.import_module("ml_api.app")
# A worker that shows no sign of life for so long is replaced; loading the models is one stretch without a sign.
timeout = 60
# The platform kills what is left 30 s after SIGTERM; requests under way get most of that.
graceful_timeout = 25
# Above the 90 s after which the router closes its idle connections: whoever closes first must not be us, or a request
# that is already on its way is lost.
keepalive = 95

# The sign of life is a file that each worker touches; on a disk that is busy a touch can block for seconds.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  gunicorn makes a file of its own there
# Nobody steers these processes through a socket in a home folder, which need not exist or be writable.
control_socket_disable = True

# The C parser, where somebody has installed it, is no faster here and takes a folded header for another mistake.
http_parser = "python"

# One line a request is written by the application, which knows more (request id, rows); errors go to stderr.
accesslog = None
errorlog = "-"
# Its debugging quotes requests.
loglevel = "info" if settings.log_level == "debug" else settings.log_level
logger_class = JSONLogger


def when_ready(server: Any) -> None:  # noqa: ARG001  gunicorn passes it by position
    """Keep the garbage collector of the workers from writing to the memory that they share."""
    gc.freeze()


def pre_request(worker: Any, req: Any) -> None:  # noqa: ARG001  gunicorn passes both by position
    """Give the application the means to close a connection whose body it will not read to the end."""
    connection.serving(req.force_close)


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001  gunicorn passes both by position
    """Nobody leaves connections to a worker that is gone."""
    worker.share.leave()


def post_worker_init(worker: Any) -> None:  # noqa: ARG001  gunicorn passes it by position
    """Take what was loaded out of the garbage collector's sight: going over it again would halt the odd request."""
    gc.collect()
    gc.freeze()
    # What loading freed: 1 MB.
    trim()

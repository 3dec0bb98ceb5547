"""gunicorn's configuration: settings of processes and connections, each with its reason.

Run ``python -m ml_api`` in this folder.
"""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from ml_api.heartbeats import HeartbeatMonitor
from ml_api.keys import KeyRing
from ml_api.logs import JSONFormatter, LineWriter
from ml_api.memory import trim
from ml_api.pid_file import PidFile, path_of
from ml_api.served import Served
from ml_api.settings import Settings, SettingsError
from ml_api.shared_folder import SharedFolder
from ml_api.worker import Worker
from ml_api.worker_loads import WorkerLoads

#: Where the optional packages are.
OPERATIONS, OTEL, TABLES = (
    f"pip install --no-deps -r requirements/{name}.txt" for name in ("operations", "otel", "tables")
)
#: Said at the start of a server that everyone may ask who reaches it.
WITHOUT_KEYS = (
    "LISTENING ON %s WITHOUT API KEYS: whoever reaches this address may ask; set API_KEYS_FILE or API_KEYS "
    "(ml-api keys new), or HOST=127.0.0.1 behind a proxy that asks for credentials"
)
try:
    settings = Settings.from_environ(os.environ)
    if (ring := KeyRing.from_settings(settings)) is not None:
        ring.check()
except SettingsError as error:
    # One line and exit status 1 instead of gunicorn's traceback.
    sys.exit(f"ml_api does not start: {error}")


class JSONLogger(Logger):  # type: ignore[misc]
    """Writes gunicorn's log in the application's format, without access lines: the application writes those."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JSONFormatter())
            if getattr(handler, "stream", None) in (sys.stderr, sys.stdout):
                handler.setStream(LineWriter(None if sys.__stderr__ is None else 2))


wsgi_app = "ml_api.wsgi:app"
proc_name = "ml_api"
bind = settings.bind

# An event loop with connection limits and admission control: see ml_api/worker.py.
worker_class = "ml_api.worker.Worker"
Worker.settings = settings
# Balances connections between workers: see ml_api/worker_loads.py. The master executes this file once, so that all
# workers share it, those of before and after a reload too.
Worker.loads = WorkerLoads(settings.workers)
# Metrics, rate limits and candidates of all workers.
if settings.metrics or settings.rate_limit or settings.candidates:
    Worker.shared = SharedFolder()
# Threads cannot use several cores, because scoring a row is half Python; processes can.
workers = settings.workers
# Each connection is a file descriptor, and a worker that runs out of them dies. Many systems allow 1024.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 65_536, most))
# model_kit uses one ONNX thread per worker; these keep numpy's libraries from starting one thread per core in each.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = os.environ.get(variable) or "1"
# pyarrow's own allocators give less back than the system's as run.sh has set it, and one starts a thread when imported.
for variable, value in (("ARROW_DEFAULT_MEMORY_POOL", "system"), ("JE_ARROW_MALLOC_CONF", "background_thread:false")):
    os.environ[variable] = os.environ.get(variable) or value

# ONNX Runtime's threads and locks do not survive a fork, so each worker loads its own models, and only then accepts
# connections. Modules that start no thread are imported once, here, after the variables above are set: the workers
# share their memory and start faster.
preload_app = False
importlib.import_module("ml_api.app")
reloading = importlib.import_module("ml_api.reloading")
for variable, is_set, modules, remedy in (
    ("METRICS", settings.metrics, ("ml_api.controllers.metrics", "ml_api.metrics.recorder"), OPERATIONS),
    ("RATE_LIMIT", settings.rate_limit, ("ml_api.rate_limits.limiter",), OPERATIONS),
    ("RATE_LIMIT_REDIS", settings.rate_limit and settings.rate_limit_redis, ("redis",), OPERATIONS),
    ("ARROW", settings.arrow, ("ml_api.views.tables.arrow_table",), TABLES),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", settings.otlp_endpoint, ("ml_api.tracing",), OTEL),
    ("SHADOW_MODELS or CANARY_MODELS", settings.candidates, ("ml_api.candidates.connections",), OPERATIONS),
):
    try:
        for module in modules if is_set else ():
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        sys.exit(f"ml_api does not start: {variable} needs {error.name}, which is not installed; {remedy}")
if settings.prediction_log is not None:
    try:
        importlib.import_module("ml_api.prediction_log.startup").check(settings.prediction_log)
    except SettingsError as error:
        sys.exit(f"ml_api does not start: {error}")
# A worker that is restarted later serves what its sisters serve, whatever is installed or in MODEL_DIR by then.
packages = importlib.import_module("model_kit.scoring.installed")
installed = packages.read_installed()
packages.serve(installed)
if settings.prediction_log is not None and (known := packages.field_names(installed)) is not None:
    for name in settings.prediction_log.redact:
        if name not in known:
            sys.exit(f"ml_api does not start: PREDICTION_LOG_REDACT has {name!r}, which is no field of any model")
Worker.served = Served()
if settings.candidates and Worker.shared is not None:
    candidates = importlib.import_module("ml_api.candidates.launcher")
    Worker.launcher = candidates.Launcher(settings, Worker.shared.path)
# A worker without a heartbeat for this long is replaced; it sends none while it loads the models.
timeout = 60
# The platform kills the processes 30 s after SIGTERM; SHUTDOWN_DELAY and requests in progress get most of that.
graceful_timeout = 25
# Above the 90 s after which the router closes its idle connections: if the server closed first, a request that the
# router has already sent would be lost.
keepalive = 95
# Whose X-Forwarded-Proto is believed, and X-Forwarded-For in ml_api/client_address.py.
forwarded_allow_ips = ",".join(settings.forwarded_allow_ips)

# The heartbeat is a file that each worker touches; on a busy disk that can block for seconds.
# Some platforms have no such folder, or one that is read-only.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  gunicorn creates its own file there
# The control socket is not used, and would need a writable home folder.
control_socket_disable = True

# The C parser, if installed, is no faster here and reports a folded header as a different error.
http_parser = "python"

# The application writes the access log, with more fields (request id, rows); errors go to stderr.
accesslog = None
errorlog = "-"
# gunicorn's debug log quotes requests.
loglevel = "info" if settings.log_level == "debug" else settings.log_level
logger_class = JSONLogger


def when_ready(server: Any) -> None:
    """Keep the workers' garbage collectors from writing to shared memory, and handle reloads and suspensions."""
    gc.freeze()
    Worker.is_socket_activated = server.systemd
    HeartbeatMonitor(server).install()
    if settings.is_public and not settings.needs_keys:
        server.log.warning(WITHOUT_KEYS, ", ".join(bind))
    try:
        pid_file = PidFile(path_of(settings))
    except SettingsError as error:
        if settings.pid_file is not None:
            sys.exit(f"ml_api does not start: {error}")
        server.log.warning("ml-api reload will not find this server: %s", error)
        pid_file = None
    count = str
    if settings.metrics and Worker.shared is not None:
        count = importlib.import_module("ml_api.metrics.recorder").ReloadCounter(Worker.shared.path)
    reloading.Reloader(server, installed, Worker.served, pid_file, count).install()
    if Worker.launcher is not None:
        Worker.launcher.install(server)


def on_exit(server: Any) -> None:  # noqa: ARG001  gunicorn passes it by position
    """End the candidates, and delete what the workers shared."""
    if Worker.launcher is not None:
        Worker.launcher.stop()
    if Worker.shared is not None:
        Worker.shared.remove()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001  gunicorn passes both by position
    """Free the slot of a worker that has exited: none leaves connections to it, and the next continues its counts."""
    worker.load_slot.release()


def post_worker_init(worker: Any) -> None:  # noqa: ARG001  gunicorn passes it by position
    """Exclude the loaded objects from garbage collection: scanning them would delay some requests."""
    gc.collect()
    gc.freeze()
    # Loading freed 1 MB.
    trim()

"""Soaks the service: mixed requests, while workers and the database are killed, and holds every answer to the log.

  make soak                                                # every model that is trained; 200,000 requests
  make soak MODEL=turnover                                 # this one alone
  make soak COUNT=20000 SOAK="--seed 7 --json soak.json"   # the seed decides on requests and faults

Real gunicorn with two workers, API keys, metrics, and a log in a PostgreSQL of its own. Every response is compared with
that of the same application in this process, where nothing fails. At the end each prediction that was answered must be
in the log, once, with its values.

exit status: 0 every check holds, 1 one does not, 2 no model is trained.
"""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "packages/ml_api"))
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import psycopg
from model_kit.records.generation import generate_rows
from model_kit.scoring.predictor import Predictor

from installed import hide_other_models, install
from ml_api.app import create_app
from ml_api.logs import LOGGER
from ml_api.models.registry import Registry, installed_models
from ml_api.settings import Settings
from operated import ML_API, PATIENCE, Service, wait_until
from postgres import Postgres, running_postgres
from processes import script
from project import ScriptError

CLIENTS, WORKERS = 8, 2
#: Rows of the largest batch; more are refused.
MAX_ROWS = 200
#: Requests of each kind and model that are different.
VARIETY = 40
#: Share of the requests until the first fault, and from which on there is none.
WARM_UP, CALM = 0.03, 0.9
#: Seconds between two looks at memory and metrics.
LOOK_INTERVAL = 2
#: Where a worker counts.
COUNTER = re.compile(r"\S+/ml-api-\S+/counter_\d+\.db")
#: Slots of workers, and a few: while they are replaced there are twice as many.
MAX_SLOTS = 6
#: Requests of a round that finds out whether all is well.
ROUND = 64
#: Requests for each fault, and MiB by which the memory of a process may have grown at the end.
REQUESTS_PER_FAULT, GROWTH = 2500, 48
#: Keys by what they may do.
KEYS = {"caller": "predict,read,outcomes", "reader": "read", "prometheus": "metrics"}
#: Lines of the log at level error that belong to a database that fails.
EXPECTED_ERRORS = {
    "the prediction log fails",
    "outcomes were not recorded",
    "the prediction log was not purged",
    "the counts for drift are not written",
}
#: What never falls.
COUNTED = re.compile(r"^(ml_api_\w+_(?:total|bucket|count)(?:\{.*\})?) (\S+)$", re.MULTILINE)
JSON = {"Content-Type": "application/json"}
MARK = "ML_API_SOAK"


@dataclass(frozen=True)
class Request:
    """A request, and what must be answered.

    Attributes:
        kind: what tables call it.
        model: whose predictions it asks for; empty if for none.
        status: of the response.
        document: of the response, without the request id.
    """

    kind: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    model: str = ""
    status: int = 0
    document: Any = None

    @cached_property
    def rows(self) -> list[tuple[Any, Any]]:
        """The prediction and the errors of each record; none if the request is refused as a whole."""
        if "predictions" not in self.document:
            return []
        errors = self.document["errors"] or {}
        return [(value, errors.get(str(row))) for row, value in enumerate(self.document["predictions"])]


def requests_of(name: str, predictor: Predictor, rng: random.Random) -> Iterator[Request]:
    """Yield different requests of every kind for one model."""
    spec = predictor.model.spec
    required = [field.name for field in spec.fields if field.required] or [spec.fields[0].name]
    pool = generate_rows(spec, 10 * MAX_ROWS, seed=rng.randrange(2**32), nulls=0.05, unseen=0.02, extremes=0.02)
    details = ["warnings=true", "explain=3", "probabilities=true" if spec.target.is_class else "interval=0.8"]

    def spoilt(record: dict[str, Any]) -> Any:
        return rng.choice([{**record, rng.choice(required): None}, {**record, required[0]: ["many"]}, {}, 5, None])

    def post(kind: str, records: Any, query: str = "", model: str = name, **headers: str) -> Request:
        body = records if isinstance(records, bytes) else json.dumps(records).encode()
        path = f"/v1/predict/{name}{query and '?'}{query}"
        return Request(kind, "POST", path, {**JSON, "X-API-Key": "caller", **headers}, body, model)

    for _ in range(VARIETY):
        one = rng.choice(pool)
        batch = rng.sample(pool, round(2 * 100 ** rng.random()))
        yield from (post("one row", rng.choice(pool)) for _ in range(10))
        yield post("batch", batch)
        yield post("batch with errors", [spoilt(row) if rng.random() < 0.2 else row for row in batch])
        yield post("error", [spoilt(one)])
        yield post("details", rng.sample(pool, rng.randrange(1, 4)), rng.choice(details))
        yield rng.choice(
            [
                post("refused", b"[{", model=""),
                post("refused", [one] * (MAX_ROWS + 1), model=""),
                post("refused", [one], model="", **{"Content-Type": "text/plain"}),
                post("refused", [one], model="", **{"X-API-Key": "nobody"}),
                post("refused", [one], model="", **{"X-API-Key": "reader"}),
                Request("refused", "GET", f"/v1/predict/{name}", {"X-API-Key": "caller"}, b""),
                Request("refused", "POST", "/v1/predict/none", {**JSON, "X-API-Key": "caller"}, b"[]"),
            ]
        )
        yield Request("page", "GET", rng.choice(["/version", "/v1/models"]), {"X-API-Key": "reader"}, b"")


def expected(registry: Registry, requests: Sequence[Request], keys: Mapping[str, str]) -> list[Request]:
    """Return the requests with what the application answers in this process."""
    loaders = {name: lambda model=model: model for name, model in registry.models().items()}
    settings = Settings(log_level="error", max_rows=MAX_ROWS, api_keys=entries(keys))
    client = create_app(settings, loaders).test_client()
    found = []
    for request in requests:
        headers = {**request.headers, "X-API-Key": keys.get(request.headers["X-API-Key"], "nobody")}
        response = client.open(request.path, method=request.method, headers=headers, data=request.body)
        document = without_id(response.data)
        found.append(replace(request, headers=headers, status=response.status_code, document=document))
    return found


def entries(keys: Mapping[str, str]) -> str:
    """Return the entries of keys, as ``API_KEYS`` takes them."""
    return " ".join(f"{name}:{KEYS[name]}:{sha256(key.encode()).hexdigest()}" for name, key in keys.items())


def without_id(body: bytes) -> Any:
    """Return the document of a response, without the id of its request."""
    document = json.loads(body)
    if isinstance(document, dict):
        document.pop("request_id", None)
    return document


@dataclass
class Tally:
    """What clients were answered.

    Attributes:
        statuses: HTTP status -> responses.
        kinds: kind of a request -> responses that were as expected.
        broken: requests without a response, because the connection broke.
        answered: prediction id -> index of the request.
        outcomes: prediction id and row -> value that was recorded.
        wrong: what was answered and should not have been.
        rows: rows that were answered.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    outcomes: dict[tuple[str, int], Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    rows: int = 0


class Clients:
    """Threads that send requests without pause.

    Args:
        port: of the service.
        requests: those to choose from.
        key: for outcomes.
        seed: decides on the choice.
    """

    def __init__(self, port: int, requests: Sequence[Request], key: str, seed: int) -> None:
        self._port, self._requests, self._key, self._seed = port, requests, key, seed
        self._lock = threading.Lock()
        self.tally = Tally()
        self.sent = self._until = 0
        self._threads: list[threading.Thread] = []

    def start(self, until: int) -> None:
        """Send until so many requests have been sent in all."""
        self._until = until
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def are_done(self) -> bool:
        """Whether everything was sent and answered."""
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while True:
            with self._lock:
                number = self.sent
                if number >= self._until:
                    break
                self.sent += 1
            rng = random.Random(f"{self._seed} {number}")
            try:
                if rng.random() < 0.06 and self.tally.answered:
                    self._send_outcomes(connection, rng)
                else:
                    self._send(connection, rng.randrange(len(self._requests)))
            except (OSError, http.client.HTTPException):
                connection.close()
                with self._lock:
                    self.tally.broken += 1
                time.sleep(0.02)
        connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str | None, Any] | None:
        """Return status, prediction id and document of a response; ``None`` if the service says that it cannot now."""
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        content = without_id(response.read())
        with self._lock:
            self.tally.statuses[response.status] += 1
            if response.status == 503 and response.headers["Retry-After"] is None:
                self.tally.wrong.append(f"{path}: status 503 without Retry-After")
        if response.status == 503:
            time.sleep(0.1)
            return None
        return response.status, response.headers["Prediction-Id"], content

    def _send(self, connection: http.client.HTTPConnection, index: int) -> None:
        request = self._requests[index]
        answer = self._ask(connection, request.method, request.path, request.body, request.headers)
        if answer is None:
            return
        status, identity, document = answer
        with self._lock:
            tally = self.tally
            has_id = identity is not None and identity not in tally.answered
            if (status, document, has_id) == (request.status, request.document, bool(request.rows)):
                tally.kinds[request.kind] += 1
            else:
                tally.wrong.append(f"{request.kind} {index}: status {status} for {request.status}, id {identity}")
            if identity is not None:
                tally.answered[identity] = index
                tally.rows += len(request.rows)

    def _send_outcomes(self, connection: http.client.HTTPConnection, rng: random.Random) -> None:
        """Record an outcome of the last prediction, if it is one, and one of a prediction that does not exist."""
        with self._lock:
            identity, index = next(reversed(self.tally.answered.items()))
        row, (value, _) = rng.choice(list(enumerate(self._requests[index].rows)))
        items = [{"id": f"{identity}/{row}", "value": value}] if value is not None else []
        items.append({"id": f"{'0' * 32}/0", "value": 1})
        headers = {**JSON, "X-API-Key": self._key}
        answer = self._ask(connection, "POST", "/v1/outcomes", json.dumps(items).encode(), headers)
        if answer is None:
            return
        status, _, document = answer
        found = [result["status"] for result in document.get("results", ())]
        with self._lock:
            # It is sent again if the first answer to it was lost.
            if status == 200 and found[-1:] == ["unknown"] and set(found[:-1]) <= {"recorded", "unchanged"}:
                self.tally.kinds["outcomes"] += 1
                if value is not None:
                    self.tally.outcomes[identity, row] = value
            else:
                self.tally.wrong.append(f"outcomes of {identity}/{row}: status {status}, {found}")


class Watch:
    """Looks at the service's processes and metrics while it works.

    Args:
        service: it.
        key: for metrics.
    """

    def __init__(self, service: Service, key: str) -> None:
        self.service, self._key = service, key
        self.counts: dict[str, float] = {}
        #: Counts that have fallen, and files in memory that processes had open.
        self.fallen: list[str] = []
        self.shared: set[Path] = set()
        #: Highest private memory of a worker (MiB).
        self.peak = 0.0

    def workers(self) -> list[int]:
        """Process ids of the workers that have loaded the application; the master may have other children."""
        found = []
        for pid in self.service.workers():
            with suppress(OSError):
                if counters := COUNTER.findall(Path(f"/proc/{pid}/maps").read_text()):
                    self.shared |= {Path(path).parent for path in counters}
                    found.append(pid)
        return found

    def look(self) -> dict[str, float]:
        """Read the metrics, and hold them to those of before; keeps the old ones if a worker dies meanwhile."""
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
        try:
            connection.request("GET", "/metrics", headers={"X-API-Key": self._key})
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return self.counts
        finally:
            connection.close()
        counts = {name: float(value) for name, value in COUNTED.findall(text)}
        self.fallen += [name for name, value in self.counts.items() if counts.get(name, -1.0) < value]
        self.counts = counts
        for pid in self.workers():
            with suppress(OSError):
                self.peak = max(self.peak, private(pid))
        return counts

    def usage(self) -> dict[str, Any]:
        """Return memory (MiB) and descriptors of the master and of its workers, and the number of shared files."""
        master, workers = self.service.process.pid, self.workers()
        return {
            "master": private(master),
            "worker": max(map(private, workers)),
            "master files": descriptors(master),
            "worker files": max(map(descriptors, workers)),
            "shared files": sum(len(list(folder.iterdir())) for folder in self.shared),
            "workers": len(workers),
        }

    def left(self) -> list[int]:
        """Return the processes of the service that still run."""
        mark = f"{MARK}={self.service.environ[MARK]}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in folder.joinpath("environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


def private(pid: int) -> float:
    """Return the private memory of a process in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return round(sum(map(int, re.findall(r"^Private_\w+: +(\d+)", text, re.MULTILINE))) / 1024, 1)


def descriptors(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def answers(counts: Mapping[str, float]) -> Counter[int]:
    """Return responses by status, of the requests that clients sent."""
    found: Counter[int] = Counter()
    for name, value in counts.items():
        match = re.fullmatch(r'ml_api_requests_total\{route="(.*)",status="(\d+)"\}', name)
        if match and match[1] not in ("/metrics", "/health", "/health/ready"):
            found[int(match[2])] += int(value)
    return found


def total(counts: Mapping[str, float], metric: str) -> int:
    """Return the sum of a metric over its labels."""
    return int(sum(value for name, value in counts.items() if name.partition("{")[0] == metric))


def faults(watch: Watch, database: Postgres, rng: random.Random) -> dict[str, Sequence[Callable[[], None]]]:
    """Return what goes wrong: name -> functions that do it."""

    def kill_worker() -> None:
        wait_until(lambda: bool(watch.workers()))
        os.kill(rng.choice(watch.workers()), signal.SIGKILL)

    def reload() -> None:
        old = set(watch.workers())
        watch.service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(new := set(watch.workers())) == WORKERS and not new & old)

    return {
        "kill -9 of a worker": [kill_worker],
        "SIGHUP": [reload],
        "pg_ctl -m immediate restart": [database.restart],
        "kill -9 of PostgreSQL": [database.kill, database.start],
        "kill -9 of the postmaster": [database.kill_postmaster, database.start],
    }


def plan(names: Sequence[str], count: int, rng: random.Random) -> list[tuple[int, str]]:
    """Return after how many requests which fault comes; each comes at least once."""
    number = max(len(names), count // REQUESTS_PER_FAULT)
    chosen = [*names, *rng.choices(names, k=number - len(names))]
    rng.shuffle(chosen)
    step = (CALM - WARM_UP) * count / number
    # At any moment of a part of its own, but for the end of it.
    return [(int(WARM_UP * count + step * (part + rng.random() / 2)), name) for part, name in enumerate(chosen)]


def missing(url: str, tally: Tally, requests: Sequence[Request]) -> tuple[Counter[str], int]:
    """Compare the log with what was answered.

    Returns:
        What differs (lost, other values, lost outcomes) and how often; how many predictions are in the log.
    """
    found: Counter[str] = Counter()
    left, logged = dict(tally.answered), 0
    with psycopg.connect(url) as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0")
        with connection.cursor("rows") as cursor:
            cursor.itersize = 5000
            cursor.execute(
                "SELECT prediction_id, model, array_agg(row ORDER BY row), array_agg(prediction ORDER BY row),"
                " array_agg(detail ORDER BY row), array_agg(errors ORDER BY row)"
                " FROM predictions GROUP BY prediction_id, model ORDER BY prediction_id"
            )
            for identity, model, rows, predictions, details, errors in cursor:
                logged += 1
                index = left.pop(identity, None)
                if index is None:
                    continue
                own = [
                    (
                        (json.loads(detail) if detail else {}).get("class") if value is None else value,
                        json.loads(error or "null"),
                    )
                    for value, detail, error in zip(predictions, details, errors, strict=True)
                ]
                request = requests[index]
                if (model, rows, own) != (request.model, list(range(len(request.rows))), request.rows):
                    found["other values"] += 1
        kept = {
            (identity, row): json.loads(value)
            for identity, row, value in connection.execute("SELECT prediction_id, row, value FROM outcomes")
        }
    found["lost"] = len(left)
    found["outcomes"] = sum(kept.get(key) != value for key, value in tally.outcomes.items())
    return found, logged


def serve(folder: Path, url: str, names: Sequence[str], keys: Mapping[str, str]) -> Service:
    """Start the service with these models, and the log in a database whose tables it makes."""
    site = folder / "site"
    announced: dict[tuple[str, str], str] = {}
    for point in entry_points(group="ml_api.models"):
        if point.name in names and point.dist is not None:
            place = (point.dist.name, point.dist.version)
            announced[place] = f"{announced.get(place, '[ml_api.models]')}\n{point.name} = {point.value}\n"
    for (distribution, version), text in announced.items():
        install(site, distribution, version, text)
    hide_other_models(site)
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)]),
        "WEB_CONCURRENCY": str(WORKERS),
        "METRICS": "true",
        "MAX_ROWS": str(MAX_ROWS),
        # A machine that is busy is no fault.
        "PREDICTION_LOG_TIMEOUT": "30",
        "API_KEYS": entries(keys),
        "LOG_LEVEL": "info",
        MARK: f"{os.getpid()}-{time.time_ns()}",
    }
    command = [sys.executable, "-m", "ml_api.cli", "migrate"]
    subprocess.run(command, cwd=ML_API, env=environ | {"PREDICTION_LOG": url}, check=True, stdout=subprocess.DEVNULL)
    return Service(folder, url, environ)


def trained(model: str | None) -> Registry:
    """Return the models to soak: the one with this name, or all that are trained.

    Raises:
        ScriptError: there is none.
    """
    registry = Registry({name: loader for name, loader in installed_models().items() if model in (None, name)})
    if not registry.models():
        what = "model" if model is None else f"model {model}"
        raise ScriptError(f"no {what} is installed and trained; `make train` trains those that have a sample", 2)
    return registry


def run(
    folder: Path,
    database: Postgres,
    registry: Registry,
    count: int,
    seed: int,
    say: Callable[[str], None],
    last: ExitStack,
) -> tuple[dict[str, Any], dict[str, bool]]:
    """Soak the service, which ``last`` stops if this fails.

    Returns:
        Figures, and whether each check holds.
    """
    rng = random.Random(seed)
    keys = {name: f"soak-{name}-{rng.getrandbits(256):064x}" for name in KEYS}
    names = sorted(registry.models())
    asked = [request for name in names for request in requests_of(name, registry.predictor(name), rng)]
    requests = expected(registry, asked, keys)
    say(f"{len(requests)} different requests for {', '.join(names)}")
    service = serve(folder, database.url, names, keys)
    last.callback(_stop, service)
    watch = Watch(service, keys["prometheus"])
    clients = Clients(service.port, requests, keys["caller"], seed)
    happens, done = faults(watch, database, rng), Counter[str]()
    schedule = [*plan(list(happens), count, rng), (int(CALM * count), "")]
    started = said = time.monotonic()

    def send(until: int) -> Iterator[None]:
        """Send requests, and look at the service meanwhile."""
        nonlocal said
        clients.start(until)
        while not clients.are_done():
            time.sleep(0.02)
            yield
            if time.monotonic() > said + LOOK_INTERVAL:
                said = time.monotonic()
                watch.look()
                say(
                    f"{clients.sent:,} of {count:,} requests, {clients.sent / (said - started):,.0f}/s, "
                    f"{done.total()} faults, {clients.tally.statuses[503]:,} refused, "
                    f"{clients.tally.broken:,} broken, {len(clients.tally.wrong)} wrong"
                )

    for _ in send(schedule[0][0]):
        pass
    watch.look()
    before = watch.usage()
    for (position, name), (following, _) in pairwise(schedule):
        steps = iter(happens[name])
        for _ in send(following):
            if clients.sent > position + CLIENTS and (step := next(steps, None)) is not None:
                step()
        for step in steps:
            step()
        done[name] += 1
    # All is well again: from here on every request has its answer, and the counts are the same on both sides.
    wait_until(lambda: service.status("/health/ready") == 200 and len(watch.workers()) == WORKERS)
    _settle(clients, watch)
    noisy, first = replace(clients.tally, statuses=clients.tally.statuses.copy()), watch.look()
    for _ in send(max(count, clients.sent + ROUND)):
        pass
    tally, seconds = clients.tally, time.monotonic() - started
    # A row is counted as recorded a moment after its answer was sent.
    with suppress(AssertionError):
        wait_until(lambda: _recorded(watch.look()) - _recorded(first) == tally.rows - noisy.rows)
    counts = watch.counts
    after = watch.usage()
    status = _stop(service)
    left = watch.left()
    differs, logged = missing(database.url, tally, requests)
    served, own = answers(counts), tally.statuses
    calm = {code: own[code] - noisy.statuses[code] for code in own}
    calm_rows = tally.rows - noisy.rows
    errors = unexpected_errors(service)
    checks = {
        "every request was answered or broke": own.total() + tally.broken == clients.sent,
        "every answer is the right one": not tally.wrong,
        "every answered prediction is in the log": not differs["lost"],
        "with its values, model and number of rows": not differs["other values"],
        "every recorded outcome is in the log": not differs["outcomes"],
        "nothing else is in the log than what was refused or broken": logged - len(tally.answered)
        <= tally.broken + own[503],
        "no count fell": not watch.fallen,
        "the service counted every answer": all(served[code] >= own[code] for code in own),
        "and no more than those and the broken ones": served.total() - own.total() <= tally.broken,
        "without faults, exactly those": +(answers(counts) - answers(first)) == +Counter(calm),
        "and their rows, recorded": total(counts, "ml_api_rows_total") - total(first, "ml_api_rows_total")
        == calm_rows
        == _recorded(counts) - _recorded(first),
        "without faults, the log took all and nothing broke": _by_log(counts) == _by_log(first)
        and tally.broken == noisy.broken,
        "no line tells of an unexpected error": not errors,
        "the server ended with status 0": status == 0,
        "no process is left": not left,
        "no file in memory is left": not any(folder.exists() for folder in watch.shared),
        # Two for each slot, and three of the server: reloads, drift and its lock.
        "files in memory did not become more": after["shared files"] <= 2 * MAX_SLOTS + 3,
        "no descriptor leaks": all(after[f"{one} files"] <= before[f"{one} files"] + 8 for one in ("master", "worker")),
        "memory does not grow": all(after[one] <= before[one] + GROWTH for one in ("master", "worker")),
    }
    figures = {
        "requests": clients.sent,
        "seconds": round(seconds, 1),
        "models": names,
        "seed": seed,
        "faults": dict(done),
        "statuses": {str(code): n for code, n in sorted(own.items())},
        "broken": tally.broken,
        "refused": {
            name.split('"')[1]: int(value)
            for name, value in counts.items()
            if name.startswith("ml_api_requests_refused_total") and value
        },
        "as expected": dict(tally.kinds),
        "wrong": len(tally.wrong),
        "answered predictions": len(tally.answered),
        "answered rows": tally.rows,
        "predictions in the log": logged,
        "lost": differs["lost"],
        "other values": differs["other values"],
        "outcomes": len(tally.outcomes),
        "worker starts": total(counts, "ml_api_worker_starts_total"),
        "before": before,
        "after": after,
        "peak of a worker": watch.peak,
        "examples": [*tally.wrong[:5], *watch.fallen[:5], *errors, *left],
    }
    return figures, checks


def _settle(clients: Clients, watch: Watch) -> None:
    """Send rounds of requests until one has no trouble, so that each worker has found its database again."""
    give_up = time.monotonic() + PATIENCE
    trouble = -1
    while trouble != (trouble := _by_log(watch.look()) + clients.tally.broken):
        assert time.monotonic() < give_up, "the service did not come back"
        clients.start(clients.sent + ROUND)
        wait_until(clients.are_done)


def _by_log(counts: Mapping[str, float]) -> int:
    """Return how many predictions were refused because the log did not take them; others for the load."""
    return int(counts['ml_api_requests_refused_total{reason="prediction_log"}'])


def _recorded(counts: Mapping[str, float]) -> int:
    """Return how many rows the log has taken."""
    return int(counts['ml_api_prediction_log_rows_total{result="recorded"}'])


def _stop(service: Service) -> int:
    """Stop the service; returns its exit status."""
    service.process.terminate()
    try:
        return service.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        service.process.kill()
        return service.process.wait()


def unexpected_errors(service: Service) -> set[str]:
    """Return what the service has logged that no fault explains."""
    with (service.folder / "out").open("rb") as file:
        messages = {json.loads(line)["message"] for line in file if b'"level":"error"' in line}
    text = (service.folder / "err").read_text()
    return (messages - EXPECTED_ERRORS) | set(re.findall("Traceback|WORKER TIMEOUT|Not reloaded", text))


def table(figures: Mapping[str, Any], checks: Mapping[str, bool]) -> str:
    """Return figures and checks as text."""
    lines = [f"{name:<24}{value}" for name, value in figures.items() if name != "examples"]
    lines += [f"{'ok' if holds else 'FAILED':<8}{name}" for name, holds in checks.items()]
    return "\n".join([*lines, *map(str, figures["examples"])])


@script("soak")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "soak.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", metavar="NAME", help="only this one (default: every model that is trained)")
    parser.add_argument("--count", type=int, default=200_000, help="requests (default: 200000)")
    parser.add_argument("--seed", type=int, default=1, help="of requests and faults (default: 1)")
    parser.add_argument("--json", type=Path, help="file for the figures and the checks")
    options = parser.parse_args(arguments)
    # What is not trained is left out.
    LOGGER.setLevel(logging.CRITICAL)

    def say(text: str) -> None:
        sys.stderr.write(f"soak: {text}\n")

    registry = trained(options.model)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, running_postgres() as database, ExitStack() as last:
        figures, checks = run(Path(folder), database, registry, options.count, options.seed, say, last)
    if options.json:
        options.json.write_text(json.dumps({"figures": figures, "checks": checks}, indent=1))
    sys.stdout.write(table(figures, checks) + "\n")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

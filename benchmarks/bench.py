"""Compare ml_api with a bare Flask view and with the servers that tutorials write, on this machine.

  make bench                        everything, under 10 minutes
  make bench-quick                  one short round, under a minute: figures to look at, not to quote
  make bench DATA=train.csv         where the data is that the model was trained on, if `make data` did not load it
  make bench BENCH_DATA=test.csv    ask about the rows of a file instead of made-up ones

Each server is started in turn, asked, and stopped, and that in several rounds (A B C A B C), so that a change of the
machine's mood meets all of them. The requests come from wrk, outside of every server's process; every record differs.
Before anything is measured, all servers must give the same prices, and a server in C must show that the generator is
not what is measured. One answer without status 200 (422 where every record is bad), or a request of ml_api's without
its one line in the log, and the run is void.

Writes build/benchmarks/results.json, results.md and plot.svg; `python benchmarks/report.py --readme` puts the tables
into README and benchmarks/README.md. What each figure means: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from model_kit.errors import IntervalError
from model_kit.scoring.bundle import CARD, Bundle, read_bundle
from model_kit.scoring.intervals import Intervals
from model_kit.spec import InputSpec

import _scripts  # noqa: F401
import machine
import report
from bodies import Record, batches, chosen_model, path_of, read_spec, records, spoil, write, write_tables
from generator import Load, TooShortError, VoidError, drive, install
from processes import stop_on_signals
from project import ROOT, ScriptError
from servers import (
    BUILD,
    HERE,
    ML_API,
    Running,
    Server,
    bare,
    constant,
    modern,
    naive,
    ours,
    running,
    shipped,
    under_granian,
    wait_until_idle,
)
from workloads import BARE, CONSTANT, GRANIAN, INTERVAL, MODERN, NAIVE, OURS, TITLES, WORKLOADS, Workload

ROUNDS = 3
#: What is to be kept of 10 minutes, and the seconds that the curves take of them.
MINUTES, CURVES = 9.5, 150
#: Different records that are made up, or taken in turn from a file.
POOL, QUICK_POOL = 10_000, 2_000
#: Records whose prices are compared, together and one by one.
COMPARED = 200
#: Relative difference of two servers' prices: the graph computes in float32.
TOLERANCE = 1e-5
#: How much faster than the fastest contestant the constant in C must be.
LEAST_LEAD = 2.0
#: Requests with an id of their own, each of which must be found in exactly one line of the log.
TRACED = 50
#: A load is repeated, twice as long, until each connection has had so many answers or it lasts ``LONGEST`` seconds: a
#: request that is under way at its end does not count, so few answers would be too few. A quick run and a
#: point of a curve take one.
ENOUGH, LONGEST = 3, 30

CURVE_ROWS = (1, 10, 100, 1_000, 10_000)
CURVE_CONNECTIONS = (1, 4, 16, 64)
#: A run must be many times as long as a request of it: these servers take longer.
SLOW = frozenset({NAIVE, MODERN})

# The status that the log has for a client that left before the answer.
CLIENT_LEFT = 499


@dataclass
class Bench:
    """One run of the benchmark.

    Attributes:
        path: where predictions are asked for.
        servers: name -> how it is started.
        pool: what is asked about.
        folder: gets bodies and logs.
        quick: one short round.
        calibrated: whether the model has intervals.
    """

    path: str
    servers: Mapping[str, Server]
    pool: list[Record]
    spec: Any
    folder: Path
    quick: bool
    calibrated: bool = True
    runs: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)
    fast_rows: int = 0
    logged_rows: int = 0

    def bodies(self, rows: int, bad: str = "none", media_type: str = "") -> Path:
        """The file of bodies of so many records, written when it is first asked for."""
        path = self.folder / f"bodies-{rows}-{bad}{media_type.replace('/', '-')}"
        if not path.exists():
            found = (self._with_bad(batch, bad) for batch in batches(self.pool, rows))
            if media_type:
                write_tables(path, found, media_type)
            else:
                write(path, found)
        return path

    def _with_bad(self, batch: list[Record], bad: str) -> list[Record]:
        spoilt = {"none": range(0), "one": range(len(batch) // 2, len(batch) // 2 + 1), "all": range(len(batch))}[bad]
        return [spoil(record, self.spec) if index in spoilt else record for index, record in enumerate(batch)]

    @contextmanager
    def start(self, name: str) -> Generator[Running]:
        """A server that is ready and warm."""
        with running(self.servers[name], self.folder) as up:
            self.starts.setdefault(name, []).append(up.seconds)
            self.load(up, rows=1, connections=8, seconds=1)
            yield up

    def load(
        self,
        up: Running,
        *,
        rows: int,
        connections: int,
        seconds: int,
        bad: str = "none",
        status: int = 200,
        enough: int = 1,
        query: str = "",
        media_type: str = "",
    ) -> Load:
        """Drive a server for that long, or longer until it has answered ``enough`` times on each connection.

        Raises:
            VoidError: an answer or a line was not as it must be.
        """
        bodies = self.bodies(rows, bad, media_type)
        url = up.url(f"{self.path}?{query}" if query else self.path)
        while True:
            before = up.log.stat().st_size
            try:
                found = drive(
                    url, bodies, connections=connections, seconds=seconds, expected=status, media_type=media_type
                )
            except TooShortError:
                if seconds >= LONGEST:
                    raise
            else:
                if up.server.logs:
                    self.hold_to_log(up, before, found.answers, connections, status)
                if found.answers >= enough * connections or seconds >= LONGEST:
                    return found
            wait_until_idle(up.process.pid)
            seconds *= 2

    def hold_to_log(self, up: Running, before: int, answers: int, connections: int, status: int) -> None:
        """Compare what was answered with what the server has logged since its log was ``before`` bytes long.

        Raises:
            VoidError: they differ.
        """
        wait_until_idle(up.process.pid)
        lines = request_lines(up.log, before)
        check_lines(lines, answers, connections, status)
        self.logged_rows += sum(line.get("rows", 0) for line in lines)
        self.fast_rows += sum(line.get("fast", 0) for line in lines)

    def check(self, model: Mapping[str, Any]) -> tuple[float, float]:
        """Ask all servers about the same records, all of them up.

        Returns:
            The largest relative difference of two prices, and how many times faster the constant in C is than the
            bare view.

        Raises:
            ScriptError: what is installed is not ``model``.
            VoidError: prices differ, a request has no line in the log, or the generator is too slow.
        """
        asked = self.pool[:COMPARED]
        with ExitStack() as stack:
            up = {name: stack.enter_context(running(server, self.folder)) for name, server in self.servers.items()}
            check_served(up[OURS], model)
            asked_of = {name: server.port for name, server in up.items() if name not in (BARE, CONSTANT)}
            together = {name: ask(port, self.path, asked) for name, port in asked_of.items()}
            single = {
                name: [ask(port, self.path, [record])[0] for record in asked[:20]] for name, port in asked_of.items()
            }
            trace(up[OURS], self.path, asked)
            rates = {name: self.load(up[name], rows=1, connections=16, seconds=1).rate for name in (BARE, CONSTANT)}
        check_lead("one record", rates)
        return max(compare_prices(together), compare_prices(single)), rates[CONSTANT] / rates[BARE]

    def round(self) -> None:
        """Every workload on every server."""
        for name in self.servers:
            asked = [workload for workload in WORKLOADS if takes_part(name, workload, quick=self.quick)]
            if not self.calibrated:
                asked = [workload for workload in asked if INTERVAL not in workload.query]
            if asked:
                with self.start(name) as up:
                    for workload in asked:
                        self.run(name, up, workload)

    def run(self, name: str, up: Running, workload: Workload) -> None:
        """One workload on one server."""
        found = self.load(
            up,
            rows=workload.rows,
            connections=workload.connections,
            seconds=workload_seconds(name, workload, quick=self.quick),
            bad=workload.bad,
            status=workload.status,
            enough=1 if self.quick else ENOUGH,
            query=workload.query,
            media_type=workload.media_type,
        )
        self.runs.setdefault(workload.name, {}).setdefault(name, []).append(summary(found))

    def curves(self) -> dict[str, Any]:
        """Milliseconds against rows on one connection, and rate and p99 against connections."""
        rows: dict[str, list[float]] = {}
        connections: dict[str, list[dict[str, float]]] = {}
        for name in (OURS, BARE, NAIVE, MODERN):
            with self.start(name) as up:
                if name != BARE:
                    rows[name] = [
                        self.load(up, rows=n, connections=1, seconds=curve_seconds(name, n)).quantile(0.5)
                        for n in CURVE_ROWS
                    ]
                connections[name] = [
                    summary(self.load(up, rows=1, connections=n, seconds=curve_seconds(name, n * 30)))
                    for n in CURVE_CONNECTIONS
                ]
        return {
            "rows": list(CURVE_ROWS),
            "milliseconds": rows,
            "connections": list(CURVE_CONNECTIONS),
            "loads": connections,
        }


def takes_part(name: str, workload: Workload, *, quick: bool) -> bool:
    """Whether a server is asked; a quick run leaves out what no bar needs."""
    if quick and name == MODERN:
        return False
    if quick and name in (NAIVE, CONSTANT) and workload.name not in ("one", "file"):
        return False
    return name in workload.servers and not (quick and name == CONSTANT and workload.rows > 1)


def workload_seconds(name: str, workload: Workload, *, quick: bool) -> int:
    """How long a load lasts: what is under way at its end does not count, so slow servers get longer for batches."""
    if quick:
        return 2 if name in SLOW and workload.rows > 1 else 1
    return workload.seconds * 2 if name in SLOW and workload.rows > 1 else workload.seconds


def curve_seconds(name: str, work: int) -> int:
    """How long a point of a curve takes; ``work``: rows under way at a time, about."""
    if name not in SLOW:
        return 2 if work < 10_000 else 4
    return 2 if work < 1_000 else 4 if work < 5_000 else 9


def summary(load: Load) -> dict[str, float]:
    """What is kept of a load: answers a second, milliseconds."""
    return {
        "rate": load.rate,
        "median": load.quantile(0.5),
        "p99": load.quantile(0.99),
        "answers": load.answers,
    }


def ask(port: int, path: str, asked: Sequence[Record], headers: Mapping[str, str] | None = None) -> list[float]:
    """Prices of records.

    Raises:
        VoidError: they can't be had.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        sent = {"Content-Type": "application/json"} | dict(headers or {})
        connection.request("POST", path, json.dumps(asked), sent)
        response = connection.getresponse()
        document = json.loads(response.read())
        if response.status != 200:
            raise VoidError(f"status {response.status}: {json.dumps(document)[:500]}")
        prices: list[float] = document["predictions"]
        return prices
    finally:
        connection.close()


def compare_prices(prices: Mapping[str, Sequence[float]]) -> float:
    """The largest relative difference from ml_api's prices.

    Raises:
        VoidError: it is larger than ``TOLERANCE``.
    """
    largest = 0.0
    for name, theirs in prices.items():
        pairs = zip(prices[OURS], theirs, strict=True)
        difference = max(abs(price / other - 1) for price, other in pairs)
        if not difference <= TOLERANCE:
            raise VoidError(f"{TITLES[name]} and ml_api do not give the same prices: {difference:.1e} apart")
        largest = max(largest, difference)
    return largest


def trace(up: Running, path: str, asked: Sequence[Record]) -> None:
    """Send requests with ids; each must have exactly one line in the log.

    Raises:
        VoidError: one has none, or several.
    """
    ids = [f"traced-{number}" for number in range(TRACED)]
    for name, record in zip(ids, asked, strict=False):
        ask(up.port, path, [record], {"X-Request-ID": name})
    wait_until_idle(up.process.pid)
    logged = [line.get("request_id") for line in request_lines(up.log, 0)]
    wrong = {name: logged.count(name) for name in ids if logged.count(name) != 1}
    if wrong:
        raise VoidError(f"requests without exactly one line in the log: {wrong}")


def request_lines(log: Path, start: int) -> list[dict[str, Any]]:
    """The lines of requests that ml_api wrote after its log was ``start`` bytes long."""
    with log.open("rb") as file:
        file.seek(start)
        lines = [json.loads(line) for line in file if line.startswith(b"{")]
    return [line for line in lines if line["message"] == "request"]


def check_lines(lines: Sequence[Mapping[str, Any]], answers: int, connections: int, status: int) -> None:
    """Hold a log to what was answered.

    Each connection has one request under way when wrk stops the clock. The server answers and logs it too, and wrk
    does not count it any more: so there are at most so many lines more than answers, and where the server saw the
    connection close before it began, its status is 499.

    Raises:
        VoidError: a line is missing, there are too many, two are of one request, or a status is another.
    """
    if not answers <= len(lines) <= answers + connections:
        raise VoidError(f"{len(lines)} requests were logged; {answers} were answered on {connections} connections")
    if len({line["request_id"] for line in lines}) != len(lines):
        raise VoidError("two lines of the log have the same request id")
    statuses = Counter(line["status"] for line in lines)
    if statuses[status] < answers or set(statuses) - {status, CLIENT_LEFT}:
        raise VoidError(f"the log tells of the statuses {sorted(statuses)}; all must be {status}")


def check_lead(title: str, rates: Mapping[str, float]) -> None:
    """Hold that the generator was not what was measured.

    Raises:
        VoidError: the constant in C is not twice as fast as the fastest contestant.
    """
    fastest = max(rate for name, rate in rates.items() if name != CONSTANT)
    if rates[CONSTANT] < LEAST_LEAD * fastest:
        raise VoidError(
            f"{title}: the constant in C reached {rates[CONSTANT]:.0f}/s where a contestant reached {fastest:.0f}/s: "
            "the generator is what was measured"
        )


def check_leads(runs: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> None:
    """:func:`check_lead` for the medians of every workload that the constant took part in.

    Raises:
        VoidError: it does not hold for one.
    """
    for workload in WORKLOADS:
        found = runs.get(workload.name, {})
        if CONSTANT in found:
            rates = {name: statistics.median(run["rate"] for run in of) for name, of in found.items()}
            check_lead(workload.title, rates)


def in_process(model: str, bodies: Path, seconds: float) -> float:
    """Microseconds from a body of one record to its price, in the environment that serves.

    Raises:
        ScriptError: it could not be measured.
    """
    command = ["/usr/bin/env", "python", str(HERE / "in_process.py"), str(bodies), "--seconds", str(seconds)]
    command += ["--model", model]
    environ = os.environ | shipped() | {"PYTHONPATH": str(ML_API), "LOG_LEVEL": "error"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScriptError(f"in_process.py failed:\n{done.stderr[-2000:]}")
    return float(done.stdout)


def training_modules() -> list[str]:
    """Modules of pandas and scikit-learn that are imported with the API and its models, where both are installed.

    Raises:
        ScriptError: the API cannot be imported.
    """
    program = (
        "import sys, ml_api, ml_api.wsgi\n"
        "print(*sorted(name for name in sys.modules if name.split('.')[0] in ('pandas', 'sklearn')))"
    )
    environ = os.environ | {"PYTHONPATH": str(ML_API), "LOG_LEVEL": "error"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScriptError(f"ml_api cannot be imported:\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1].split()


def served_model(name: str, bundle: Bundle) -> dict[str, Any]:
    """Which model is measured."""
    card = bundle.json(CARD)
    return {
        "name": name,
        "artifact_sha256": bundle.artifact_sha256,
        "data": card["data"]["name"],
        "synthetic": card["data"]["synthetic"],
    }


def has_intervals(bundle: Bundle, spec: InputSpec) -> bool:
    """Whether the model was calibrated when it was trained; without cross-validation it was not."""
    try:
        Intervals.from_card(bundle.json(CARD), spec.target)
    except IntervalError:
        return False
    return True


def check_served(up: Running, model: Mapping[str, Any]) -> None:
    """Hold that what is served is the model that was trained last.

    Raises:
        ScriptError: it is another.
    """
    connection = HTTPConnection("127.0.0.1", up.port, timeout=60)
    try:
        connection.request("GET", "/version")
        served = json.loads(connection.getresponse().read())["models"][model["name"]]["artifact_sha256"]
    finally:
        connection.close()
    if served != model["artifact_sha256"]:
        raise ScriptError("another model is installed than was trained last; `make publish install` installs it")


def contestants(pickle: Path, *, granian: bool) -> dict[str, Server]:
    """The servers, in the order in which they are started."""
    found = {OURS: ours(), BARE: bare(), NAIVE: naive(pickle), MODERN: modern(pickle), CONSTANT: constant()}
    return found | ({GRANIAN: under_granian()} if granian else {})


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that goes into results.json."""
    from prepare import pickle_pipeline  # noqa: PLC0415 - scikit-learn, which --help need not wait for

    started = time.monotonic()
    install()
    package = chosen_model(options.model)
    bundle = read_bundle(package.bundle)
    spec = read_spec(package.bundle)
    model = served_model(package.model, bundle)
    say("preparing: the naive servers' estimator, the bodies")
    pickle = pickle_pipeline(package, options.data)
    folder = BUILD / "run"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    data = options.bench_data or os.environ.get("BENCH_DATA")
    pool = records(spec, QUICK_POOL if options.quick else POOL, data)
    calibrated = has_intervals(bundle, spec)
    servers = contestants(pickle, granian=options.granian)
    bench = Bench(path_of(package), servers, pool, spec, folder, options.quick, calibrated)
    difference, lead = bench.check(model)
    say(f"all servers give the same prices: at most {difference:.1e} apart, relatively")
    say(f"the constant in C is {lead:.0f} times as fast as a Flask view that returns a constant")
    rounds = 1 if options.quick else options.rounds
    microseconds: list[float] = []
    for number in range(rounds):
        begun = time.monotonic()
        say(f"round {number + 1} of {rounds}, {begun - started:.0f} s so far")
        bench.round()
        microseconds.append(in_process(package.model, bench.bodies(1), 0.5 if options.quick else 2))
        now = time.monotonic()
        if number + 1 < rounds and now + (now - begun) + CURVES > started + options.minutes * 60:
            say(f"no time for another round: the machine is busy, or slow ({now - begun:.0f} s a round)")
            break
    check_leads(bench.runs)
    results = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": options.command,
        "quick": options.quick,
        "rounds": len(microseconds),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "commit": machine.commit(ROOT),
        "model": model,
        "asked": Path(data).name if data else "records made from the spec",
        "price difference": difference,
        "runs": bench.runs,
        "start": bench.starts,
        "in process": microseconds,
        "training modules": training_modules(),
        "fast lane": bench.fast_rows / bench.logged_rows if bench.logged_rows else None,
        "curves": None if options.quick else bench.curves(),
    }
    say(f"measured in {time.monotonic() - started:.0f} s")
    return results


def say(text: str) -> None:
    """Tell at once, even when the output is a pipe."""
    print(f"bench: {text}", flush=True)


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(
        "bench.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--model", help="name of the model (default: the only one that is trained)")
    found.add_argument("--quick", action="store_true", help="one short round, no curves")
    found.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    found.add_argument("--minutes", type=float, default=MINUTES, help="begin no round that would take longer")
    found.add_argument("--data", help="CSV file that the model was trained on (variable DATA)")
    found.add_argument("--bench-data", help="CSV file whose rows are asked about (variable BENCH_DATA)")
    found.add_argument("--granian", action="store_true", help="ml_api under granian as well")
    found.add_argument("--command", default="make bench", help=argparse.SUPPRESS)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(arguments)
    try:
        with stop_on_signals():
            results = measure(options)
            report.write(results, BUILD)
    except VoidError as error:
        print(f"bench: the run is void: {error}", file=sys.stderr)
        return error.status
    except ScriptError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nbench: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

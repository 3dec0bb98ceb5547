"""What is asked of whom, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, TypeAlias

OURS, BARE, NAIVE, MODERN, CONSTANT, GRANIAN = "ml_api", "bare", "naive", "modern", "constant", "granian"
#: What tables call them.
TITLES = {
    OURS: "ml_api",
    BARE: "a Flask view that returns a constant",
    NAIVE: "Flask, marshmallow, pandas, scikit-learn",
    MODERN: "FastAPI, pydantic, pandas, scikit-learn",
    CONSTANT: "a constant in C",
    GRANIAN: "ml_api under granian",
}

#: Rows of the file that the batch workloads are about.
FILE = 1459


@dataclass(frozen=True)
class Workload:
    """One kind of load.

    Attributes:
        name: its key in results.json.
        title: what tables call it.
        rows: records of a request.
        connections: requests under way at any time.
        seconds: how long in each round; a quarter in a quick run.
        servers: whom it is put to, of those that are started. The constant in C shows what the generator could do.
        bad: which records are faulty.
        query: what is asked for beside predictions.
        media_type: of the bodies and answers, if that is not JSON.
    """

    name: str
    title: str
    rows: int
    connections: int
    seconds: int
    servers: tuple[str, ...] = (OURS, NAIVE, MODERN, CONSTANT, GRANIAN)
    bad: Literal["none", "one", "all"] = "none"
    query: str = ""
    media_type: str = ""

    @property
    def status(self) -> int:
        """Status of every answer."""
        return 422 if self.bad == "all" else 200


#: Types of tables; Arrow needs pyarrow in the environment that serves.
CSV, ARROW = "text/csv", "application/vnd.apache.arrow.stream"
#: What can be asked for beside a prediction.
INTERVAL, EXPLAIN, WARNINGS = "interval=0.9", "explain=5", "warnings=true"


def _alone(name: str, query: str) -> Workload:
    """One record on one connection, to be read beside the one that asks for nothing."""
    return Workload(name, f"one record, 1 connection, ?{query}", 1, 1, 2, (OURS,), query=query)


WORKLOADS = (
    Workload("one", "one record, 16 connections", 1, 16, 4, (OURS, BARE, NAIVE, MODERN, CONSTANT, GRANIAN)),
    Workload("alone", "one record, 1 connection", 1, 1, 3, (OURS, BARE, NAIVE, MODERN, CONSTANT, GRANIAN)),
    Workload("hundred", "100 records, 8 connections", 100, 8, 3),
    Workload("file", f"{FILE} records, 2 connections", FILE, 2, 4),
    Workload("one bad", f"{FILE} records, one of them bad, 2 connections", FILE, 2, 3, (OURS,), "one"),
    Workload("all bad", f"{FILE} records, all bad, 2 connections", FILE, 2, 2, (OURS,), "all"),
    Workload("tenth bad", f"{FILE // 10} records, all bad, 2 connections", FILE // 10, 2, 2, (OURS,), "all"),
    Workload("csv", f"{FILE} rows of CSV, 2 connections", FILE, 2, 3, (OURS,), media_type=CSV),
    Workload("arrow", f"{FILE} rows in Arrow, 2 connections", FILE, 2, 3, (OURS,), media_type=ARROW),
    _alone("interval", INTERVAL),
    _alone("explained", EXPLAIN),
    _alone("warned", WARNINGS),
    _alone("detailed", f"{INTERVAL}&{EXPLAIN}&{WARNINGS}"),
)
ROWS_OF = {workload.name: workload.rows for workload in WORKLOADS}

#: results.json.
Results: TypeAlias = Mapping[str, Any]


def values(results: Results, workload: str, server: str, figure: str) -> list[float]:
    """One value a round; ``figure`` is ``rate`` (1/s), ``median`` or ``p99`` (ms)."""
    return [run[figure] for run in results["runs"][workload][server]]


def ratio(results: Results, workload: str, above: str, below: str, figure: str = "rate") -> list[float]:
    """One ratio a round: what was measured within a minute is compared with each other."""
    pairs = zip(values(results, workload, above, figure), values(results, workload, below, figure), strict=True)
    return [first / second for first, second in pairs]


def rows_per_second(results: Results, workload: str, server: str = OURS) -> list[float]:
    """One value a round."""
    return [rate * ROWS_OF[workload] for rate in values(results, workload, server, "rate")]


def _behind_bare(results: Results) -> list[float]:
    pairs = zip(values(results, "alone", OURS, "median"), values(results, "alone", BARE, "median"), strict=True)
    return [ours - bare for ours, bare in pairs]


def _tail(results: Results) -> list[float]:
    runs = results["runs"]["alone"][OURS]
    return [run["p99"] / run["median"] for run in runs]


def _cost_of_one_bad(results: Results) -> list[float]:
    pairs = zip(values(results, "one bad", OURS, "median"), values(results, "file", OURS, "median"), strict=True)
    return [bad / clean for bad, clean in pairs]


def _linear(results: Results) -> list[float]:
    pairs = zip(values(results, "all bad", OURS, "median"), values(results, "tenth bad", OURS, "median"), strict=True)
    return [whole / FILE / (tenth / ROWS_OF["tenth bad"]) for whole, tenth in pairs]


@dataclass(frozen=True)
class Bar:
    """A promise that the figures are held to.

    Attributes:
        title: what is promised of.
        unit: how a figure is written; ``{}`` stands for the number.
        bar: the limit.
        aim: what would be better still.
        least: whether ``bar`` is the least (else the most) that is good.
        figure: one value a round; ``KeyError`` where it was not measured.
        command: what measures it.
    """

    title: str
    unit: str
    bar: float
    aim: float | None
    least: bool
    figure: Callable[[Results], Sequence[float]]
    command: str = "make bench"

    def value(self, results: Results) -> float | None:
        """Median over the rounds; ``None`` if it was not measured."""
        try:
            return median(self.figure(results))
        except KeyError:
            return None

    def holds(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.bar if self.least else value <= self.bar


BARS = (
    Bar(
        "one record, 16 connections: requests/s against the bare constant view under gunicorn's gthread",
        *("{:.0%}", 0.8, 1.0, True),
        lambda results: ratio(results, "one", OURS, BARE),
    ),
    Bar("one record, 1 connection: median above the bare view's", "{:.2f} ms", 0.4, 0.2, False, _behind_bare),
    Bar("one record, 1 connection: p99 against the median", "{:.1f}x", 3, None, False, _tail),
    Bar(
        "one record, 16 connections: requests/s against Flask, marshmallow, pandas",
        *("{:.0f}x", 20, 40, True),
        lambda results: ratio(results, "one", OURS, NAIVE),
    ),
    Bar(
        "in-process, bytes to price, records varied",
        *("{:.0f} µs", 90, 50, False),
        lambda results: results["in process"],
    ),
    Bar(
        "100 records, 8 connections",
        *("{:,.0f} rows/s", 45_000, 80_000, True),
        lambda results: rows_per_second(results, "hundred"),
    ),
    Bar(
        f"{FILE} records, 2 connections",
        *("{:,.0f} rows/s", 70_000, 85_000, True),
        lambda results: rows_per_second(results, "file"),
    ),
    Bar(
        "the same against Flask, marshmallow, pandas",
        *("{:.1f}x", 7, None, True),
        lambda results: ratio(results, "file", OURS, NAIVE),
    ),
    Bar("the same with one bad record: time against the clean one", "{:.2f}x", 1.3, None, False, _cost_of_one_bad),
    Bar(
        "the same, all bad: median",
        *("{:.2f} s", 1, None, False),
        lambda results: [value / 1000 for value in values(results, "all bad", OURS, "median")],
    ),
    Bar("all bad: time a row against that of a tenth of the rows", "{:.2f}x", 1.5, None, False, _linear),
    Bar(
        f"{FILE} rows of CSV, answered in CSV, 2 connections",
        *("{:,.0f} rows/s", 80_000, None, True),
        lambda results: rows_per_second(results, "csv"),
    ),
    Bar(
        f"{FILE} rows in Arrow, answered in Arrow, 2 connections",
        *("{:,.0f} rows/s", 120_000, 150_000, True),
        lambda results: rows_per_second(results, "arrow"),
    ),
    Bar(
        "start of the master to ready, warm disk",
        *("{:.2f} s", 1.5, 0.8, False),
        lambda results: results["start"][OURS],
    ),
    Bar(
        "modules of pandas and scikit-learn that loading the API and its models imports",
        *("{:.0f}", 0, None, False),
        lambda results: [len(results["training modules"])],
    ),
    Bar(
        "resident memory of the larger worker after 200,000 requests, every hundredth of 10,000 rows",
        *("{:.0f} MB", 110, 85, False),
        lambda results: [results["memory"]["last"]],
        "make bench-memory",
    ),
    Bar(
        "the same above its value after 20,000",
        *("{:.1f} MB", 3, None, False),
        lambda results: [results["memory"]["last"] - results["memory"]["first"]],
        "make bench-memory",
    ),
    Bar(
        "`model-kit predict` on a CSV of 1,000,000 rows",
        *("{:,.0f} rows/s", 95_000, 130_000, True),
        lambda results: [results["batch"]["csv"]["rows_per_second"]],
        "make bench-batch",
    ),
    Bar(
        "the same rows as Parquet",
        *("{:,.0f} rows/s", 130_000, 200_000, True),
        lambda results: [results["batch"]["parquet"]["rows_per_second"]],
        "make bench-batch",
    ),
    Bar(
        "peak memory of the larger of both, all processes",
        *("{:.0f} MB", 500, None, False),
        lambda results: [max(results["batch"][name]["peak"] for name in ("csv", "parquet"))],
        "make bench-batch",
    ),
)

"""How fast a DataFrame is predicted over HTTP, the client included: 1,000,000 rows by ``ml_client``.

  make bench-client MODEL=regression BENCH_DATA=path.csv
  make bench-client ROWS=50000       fewer, to see whether it works

One server of two workers runs, as it is shipped; the client asks it from the same machine and the same cores. Sides are
asked in turn, in interleaved rounds: Arrow, JSON, and what a user writes without the client (requests and to_dict, one
request after the other). Rows are those of BENCH_DATA over and over, or made from the model's spec. Writes
build/benchmarks/client.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import requests
from ml_client import Client

import _scripts  # noqa: F401
from bodies import chosen_model, path_of, read_spec, records
from processes import stop_on_signals
from project import ScriptError, write_atomically
from servers import BUILD, ML_API, Running, Server, group, running, shipped

ROWS = 1_000_000
#: Rows that the slow sides are asked about.
FEWER = 50_000
#: Rows of a request of the user's own loop.
REQUEST = 10_000
TICK = os.sysconf("SC_CLK_TCK")


def frame_of(spec: Any, rows: int) -> pd.DataFrame:
    """The rows as pandas reads the file: columns of numbers and texts."""
    data = os.environ.get("BENCH_DATA")
    if data:
        try:
            found = pd.read_csv(data, keep_default_na=False, na_values=["NA"])
        except OSError as error:
            raise ScriptError(f"BENCH_DATA={data} cannot be read: {error.strerror}") from error
    else:
        found = pd.DataFrame(records(spec, 2_000))
    times = -(-rows // len(found))
    return pd.concat([found] * times, ignore_index=True).iloc[:rows]


def by_hand(url: str, frame: pd.DataFrame) -> list[float]:
    """What a user writes: a loop of requests."""
    predictions: list[float] = []
    for start in range(0, len(frame), REQUEST):
        some = frame.iloc[start : start + REQUEST]
        rows: Any = some.astype(object).where(some.notna(), None).to_dict("records")
        response = requests.post(url, json=rows, timeout=600)
        response.raise_for_status()
        predictions += response.json()["predictions"]
    return predictions


def processor_time(up: Running) -> float:
    """Seconds of processor time of a server's processes."""
    return sum(ticks for ticks, _ in group(up.process.pid).values()) / TICK


def measure(up: Running, ask: Callable[[], Any], rows: int) -> dict[str, float]:
    """Rate, and the processor time of both sides per row."""
    started, client, server = time.perf_counter(), time.process_time(), processor_time(up)
    found = list(ask())
    seconds = time.perf_counter() - started
    if len(found) != rows or not all(map(isfinite, found)):
        raise ScriptError("a row has no prediction")
    return {
        "rows/s": rows / seconds,
        "client": (time.process_time() - client) / rows * 1e6,
        "server": (processor_time(up) - server) / rows * 1e6,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "client.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=int(os.environ.get("ROWS") or ROWS), help=f"default: {ROWS}")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--concurrency", type=int, default=4, help="of the client (default: 4)")
    parser.add_argument("--model", help="name of the model (default: the only one that is trained)")
    options = parser.parse_args(arguments)
    try:
        package = chosen_model(options.model)
        frame = frame_of(read_spec(package.bundle), options.rows)
        environ = shipped(Path(sys.executable)) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        server = Server("ml_api", (sys.executable, "-m", "ml_api"), environ, ML_API, logs=True)
        with (
            stop_on_signals(),
            tempfile.TemporaryDirectory(prefix="client-") as folder,
            running(server, Path(folder)) as up,
        ):
            found = compare(up, package.model, path_of(package), frame, options)
    except ScriptError as error:
        print(f"client: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nclient: stopped", file=sys.stderr)
        return 130
    print(table(found))
    document = {
        "time": datetime.now(UTC).isoformat(),
        "rows": options.rows,
        "cores": len(os.sched_getaffinity(0)),
        "sides": found,
    }
    write_atomically(BUILD / "client.json", json.dumps(document, indent=1) + "\n")
    return 0


def compare(
    up: Running, model: str, path: str, frame: pd.DataFrame, options: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """Figures of each side, one for each round."""
    fewer = frame.iloc[:FEWER]
    found: dict[str, list[dict[str, float]]] = {}
    with (
        Client(up.url(""), concurrency=options.concurrency) as arrow,
        Client(up.url(""), concurrency=options.concurrency, arrow=False) as plain,
    ):
        sides: dict[str, tuple[Callable[[pd.DataFrame], Any], pd.DataFrame]] = {
            "ml_client, Arrow": (lambda some: arrow.predict(model, some).predictions, frame),
            "ml_client, JSON": (lambda some: plain.predict(model, some).predictions, fewer),
            "requests, to_dict": (lambda some: by_hand(up.url(path), some), fewer),
        }
        same = [np.asarray(ask(fewer.iloc[:1000]), float) for ask, _ in sides.values()]
        if not all(np.array_equal(same[0], one) for one in same):
            raise ScriptError("the sides have different predictions")
        for number in range(options.rounds):
            for title, (ask, some) in sides.items():
                print(f"round {number + 1} of {options.rounds}: {title}", file=sys.stderr)
                found.setdefault(title, []).append(measure(up, lambda ask=ask, some=some: ask(some), len(some)))  # type: ignore[misc]
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Medians over the rounds."""
    lines = ["| | rows/s | client | server |", "| --- | ---: | ---: | ---: |"]
    for title, rounds in found.items():
        rate, client, server = (
            statistics.median(one[name] for one in rounds) for name in ("rows/s", "client", "server")
        )
        lines.append(f"| {title} | {rate:,.0f} | {client:.1f} µs a row | {server:.1f} µs a row |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

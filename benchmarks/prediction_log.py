"""What the prediction log costs: requests a second with it against without, on SQLite and PostgreSQL.

  make bench-log MODEL=regression
  python benchmarks/prediction_log.py --seconds 2 --rounds 1

All servers run at the same time, and each is asked in turn, in interleaved rounds; ratios are computed within a round.
The environment is the one of development. "process": what is answered survives the death of any process; "power": loss
of power too (SQLite: PREDICTION_LOG_DURABILITY, PostgreSQL: its own setting fsync).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import _scripts
from bodies import batches, chosen_model, path_of, read_spec, records, write
from generator import Load, drive, install
from processes import stop_on_signals
from project import ROOT, ScriptError
from servers import ML_API, Running, Server, running, shipped

sys.path.insert(0, str(ROOT / "tests/helpers"))

from postgres import running_postgres

#: Rows of a request, connections.
WORKLOADS = ((1, 16), (1, 1), (100, 8))
OFF = "off"
#: Seconds before each measurement; a busy disk may flush for longer than one.
WARM_UP = 3
__all__ = ["_scripts", "main"]


def server(title: str, place: str, durability: str = "process") -> Server:
    """The service in this environment, with a log in ``place``; its tables are made."""
    environ = shipped(Path(sys.executable)) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environ |= {"PREDICTION_LOG": place, "PREDICTION_LOG_DURABILITY": durability, "PREDICTION_LOG_TIMEOUT": "30"}
    if place:
        command = [sys.executable, "-m", "ml_api.cli", "migrate"]
        subprocess.run(command, cwd=ML_API, env=os.environ | environ, check=True, stdout=subprocess.DEVNULL)
    command = [sys.executable, "-m", "ml_api"]
    return Server(title, tuple(command), environ, ML_API, logs=True)


def measure(
    up: Sequence[Running], path: str, bodies: dict[int, Path], rounds: int, seconds: int
) -> dict[tuple[int, int], dict[str, list[Load]]]:
    """Loads of each server, by workload."""
    found: dict[tuple[int, int], dict[str, list[Load]]] = {workload: {} for workload in WORKLOADS}
    for number in range(rounds):
        for rows, connections in WORKLOADS:
            for one in up:
                print(f"round {number + 1} of {rounds}: {one.server.title}, {rows} x {connections}", file=sys.stderr)
                drive(one.url(path), bodies[rows], connections=connections, seconds=WARM_UP)
                load = drive(one.url(path), bodies[rows], connections=connections, seconds=seconds)
                found[rows, connections].setdefault(one.server.title, []).append(load)
    return found


def table(found: dict[tuple[int, int], dict[str, list[Load]]]) -> str:
    """Medians over the rounds, and of the ratios to the server without a log."""
    lines = [
        "| log | rows, connections | rows/s | of off | median | p99 |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for (rows, connections), loads in found.items():
        off = [load.rate for load in loads[OFF]]
        for title, own in loads.items():
            rates = [load.rate for load in own]
            ratio = statistics.median(rate / base for rate, base in zip(rates, off, strict=True))
            middle, tail = (statistics.median(load.quantile(share) for load in own) for share in (0.5, 0.99))
            rate = statistics.median(rates) * rows
            cells = f"{rate:,.0f} | {ratio:.0%} | {middle:.2f} ms | {tail:.1f} ms"
            lines.append(f"| {title} | {rows}, {connections} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "prediction_log.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--model", help="name of the model (default: the only one that is trained)")
    options = parser.parse_args(arguments)
    try:
        install()
        package = chosen_model(options.model)
        pool = records(read_spec(package.bundle), 5_000)
        with stop_on_signals(), tempfile.TemporaryDirectory(prefix="log-") as temporary, ExitStack() as stack:
            folder = Path(temporary)
            bodies = {rows: write(folder / f"bodies{rows}", batches(pool, rows)) for rows in (1, 100)}
            process, power = (stack.enter_context(running_postgres(fsync=fsync)).url for fsync in (False, True))
            named = [
                server(OFF, ""),
                server("SQLite, process", f"{folder}/process.db"),
                server("SQLite, power", f"{folder}/power.db", "power"),
                server("PostgreSQL, process", process),
                server("PostgreSQL, power", power),
            ]
            up = [stack.enter_context(running(one, folder)) for one in named]
            print(table(measure(up, path_of(package), bodies, options.rounds, options.seconds)))
    except ScriptError as error:
        print(f"prediction_log: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nprediction_log: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

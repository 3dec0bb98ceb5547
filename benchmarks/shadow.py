"""What a shadow costs the callers: latency at half of the capacity with it against without, in interleaved rounds.

  make bench-shadow MODEL=regression
  python benchmarks/shadow.py --seconds 5 --rounds 3

Both servers have a prediction log in SQLite, and run at the same time; the second one has the served bundle as its
shadow too. Requests of one row are sent at a fixed rate, whatever comes back: half of what the first server answers in
a closed loop. The generator shares the cores with the servers. Ratios are computed within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import _scripts
from bodies import chosen_model, path_of, read_spec, records
from open_loop import Found, LoadGenerator
from overload import Target
from processes import stop_on_signals
from project import Package, ScriptError
from servers import ML_API, Running, Server, running, shipped

#: Quantiles of the latency.
SHARES = (0.5, 0.9, 0.99)
#: Connections of the closed loop that measures the capacity.
CONNECTIONS = 16
#: Seconds before the first round, and after each measurement, in which the shadow catches up.
WARM_UP, PAUSE = 3, 1
__all__ = ["_scripts", "main"]


def servers(folder: Path, package: Package) -> list[Server]:
    """The service in this environment with a log, without and with a shadow."""
    found = []
    for title in ("without", "with a shadow"):
        place = f"{folder}/{title.replace(' ', '-')}.db"
        environ = shipped(Path(sys.executable)) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environ |= {"PREDICTION_LOG": place}
        command = [sys.executable, "-m", "ml_api.cli", "migrate"]
        subprocess.run(command, cwd=ML_API, env=os.environ | environ, check=True, stdout=subprocess.DEVNULL)
        found.append(Server(title, (sys.executable, "-m", "ml_api"), environ, ML_API, logs=True))
    shadow = {"SHADOW_MODELS": f"{package.model}={package.bundle}"}
    return [found[0], replace(found[1], environ=found[1].environ | shadow)]


def wait_for_shadow(up: Running) -> None:
    """Wait until the shadow scores."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        with urlopen(up.url("/version"), timeout=5) as response:  # noqa: S310  it is a server that we started
            states = [one["shadow"]["state"] for one in json.load(response)["candidates"].values()]
        if states == ["ready"]:
            return
        time.sleep(0.2)
    raise ScriptError("the shadow is not ready")


def measure(up: Running, requests: Sequence[bytes], rate: float, seconds: float) -> Found:
    """Send requests at a rate."""
    load = LoadGenerator(("127.0.0.1", up.port), requests, reuse=True)
    load.open(rate, seconds)
    return load.answered


def scored(folder: Path) -> tuple[int, int]:
    """Rows that were answered, and those that the shadow predicted."""
    with closing(sqlite3.connect(f"{folder}/with-a-shadow.db")) as connection:
        tables = ("predictions", "shadow_predictions")
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608
    return counts[0], counts[1]


def compare(up: Sequence[Running], requests: Sequence[bytes], options: argparse.Namespace, folder: Path) -> str:
    """Measure in interleaved rounds."""
    capacity = LoadGenerator(("127.0.0.1", up[0].port), requests, reuse=True).closed(CONNECTIONS, 3)
    rate = capacity * options.share
    found: dict[str, list[Found]] = {one.server.title: [] for one in up}
    for one in up:
        measure(one, requests, rate, WARM_UP)
    time.sleep(PAUSE)
    before, left_out = scored(folder), 0
    while len(found[up[0].server.title]) < options.rounds:
        own = {}
        for one in random.sample(up, len(up)):
            own[one.server.title] = measure(one, requests, rate, options.seconds)
            time.sleep(PAUSE)
        if any(load.counts.keys() != {"200"} for load in own.values()):
            left_out += 1
            if left_out > options.rounds:
                raise ScriptError("the machine is busy with something else: too many rounds with refusals")
            continue
        for title, load in own.items():
            found[title].append(load)
        print(f"round {len(found[title])} of {options.rounds}, {left_out} left out", file=sys.stderr)
    time.sleep(PAUSE)
    after = scored(folder)
    lost = 1 - (after[1] - before[1]) / (after[0] - before[0])
    heading = (
        f"One row at {rate:,.0f} requests/s, {options.share:.0%} of the capacity ({capacity:,.0f}/s); {options.rounds} "
        f"rounds of {options.seconds} s, {left_out} with refusals left out; rows that the shadow lost: {lost:.1%}"
    )
    lines = [
        heading,
        "",
        "| quantile | without | with a shadow | ratio (median of the rounds, lowest to highest) |",
        "| --- | ---: | ---: | ---: |",
    ]
    without, beside = found.values()
    for share in SHARES:
        pairs = [(one.quantile(share), other.quantile(share)) for one, other in zip(without, beside, strict=True)]
        ratios = sorted(other / one for one, other in pairs)
        first, second = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        lines.append(f"| p{share * 100:.0f} | {first:.2f} ms | {second:.2f} ms | {ratio} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "shadow.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="default: 30")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--share", type=float, default=0.5, help="of the capacity (default: 0.5)")
    parser.add_argument("--model", help="name of the model (default: the only one that is trained)")
    options = parser.parse_args(arguments)
    try:
        package = chosen_model(options.model)
        rows = records(read_spec(package.bundle), 1000)
        with stop_on_signals(), tempfile.TemporaryDirectory(prefix="shadow-") as temporary, ExitStack() as stack:
            folder = Path(temporary)
            up = [stack.enter_context(running(one, folder)) for one in servers(folder, package)]
            wait_for_shadow(up[1])
            target = Target("127.0.0.1", up[0].port, path_of(package))
            requests = [target.post(json.dumps([row]).encode()) for row in rows]
            print(compare(up, requests, options, folder))
    except ScriptError as error:
        print(f"shadow: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nshadow: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

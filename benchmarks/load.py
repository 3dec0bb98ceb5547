"""Rate and latency of servers, started here one after the other, the repeats interleaved (A B A B).

Several models are asked in turn of the same servers; "of first" is the median time against the first model's.

A tool for choosing settings:

  python benchmarks/load.py ours bare --connections 1 16 64
  python benchmarks/load.py ours ours:THREADS=8 ours:WEB_CONCURRENCY=3 --rows 100 --connections 8
  python benchmarks/load.py ours --model regression sentiment turnover
  nice -n -10 python benchmarks/load.py bare:GUNICORN_CMD_ARGS=--worker-class=sync bare --seconds 5 --repeats 5

`bench.py` does the whole benchmark.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypeAlias

import _scripts  # noqa: F401
from bodies import batches, chosen_model, path_of, read_spec, records, write
from generator import Load, drive, install
from processes import stop_on_signals
from project import ScriptError
from servers import Server, bare, constant, ours, running

#: By number of connections, server and path.
Loads: TypeAlias = dict[tuple[int, str, str], list[Load]]


def parse_server(text: str) -> Server:
    """``ours``, ``bare`` or ``constant``, with variables of its environment after colons.

    Raises:
        ScriptError: it is none of them.
    """
    name, *settings = text.split(":")
    if any("=" not in setting for setting in settings):
        raise ScriptError(f"{text!r}: settings are written NAME=VALUE", 2)
    environ = dict(setting.split("=", 1) for setting in settings)
    match name:
        case "ours":
            return ours(environ)
        case "bare":
            return bare(environ)
        case "constant":
            return constant()
    raise ScriptError(f"{text!r} is no server; there are ours, bare and constant", 2)


def measure(
    named: Sequence[tuple[str, Server]], bodies: Mapping[str, Path], options: argparse.Namespace, folder: Path
) -> Loads:
    """Loads of servers, asked for predictions at the paths of ``bodies``."""
    found: Loads = {}
    for repeat in range(options.repeats):
        for name, server in named:
            print(f"repeat {repeat + 1} of {options.repeats}: {name}", file=sys.stderr)
            with running(server, folder) as up:
                for path, file in bodies.items():
                    drive(up.url(path), file, connections=8, seconds=1)
                for connections, (path, file) in product(options.connections, bodies.items()):
                    load = drive(up.url(path), file, connections=connections, seconds=options.seconds)
                    found.setdefault((connections, name, path), []).append(load)
    return found


def table(found: Loads, rows: int) -> str:
    """Medians over the repeats, and the range of the rates."""
    figures = f"{'conns':>5} {'req/s':>8} {'range':>15} {'rows/s':>9} {'median ms':>9} {'p99 ms':>8} {'of first':>8}"
    lines = [f"{'server and path':50} {figures}"]
    first: dict[tuple[int, str], list[Load]] = {}
    for (connections, name, path), loads in found.items():
        beside = first.setdefault((connections, name), loads)
        pairs = zip(loads, beside, strict=True)
        share = statistics.median(load.quantile(0.5) / one.quantile(0.5) for load, one in pairs)
        rates = [load.rate for load in loads]
        rate = statistics.median(rates)
        median, tail = (statistics.median(load.quantile(share) for load in loads) for share in (0.5, 0.99))
        spread = f"{min(rates):.0f}-{max(rates):.0f}"
        figures = f"{connections:5} {rate:8.0f} {spread:>15} {rate * rows:9.0f} {median:9.3f} {tail:8.3f} {share:8.2f}"
        lines.append(f"{name + ' ' + path:50} {figures}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "load.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("servers", nargs="+", metavar="SERVER[:NAME=VALUE...]", help="ours, bare or constant")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16], help="default: 1 16")
    parser.add_argument("--rows", type=int, default=1, help="records of a request (default: 1)")
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement (default: 3)")
    parser.add_argument("--repeats", type=int, default=3, help="default: 3")
    parser.add_argument("--model", nargs="+", default=[None], help="models (default: the only one that is trained)")
    options = parser.parse_args(arguments)
    try:
        named = [(text, parse_server(text)) for text in options.servers]
        install()
        with stop_on_signals(), tempfile.TemporaryDirectory(prefix="load-") as temporary:
            bodies = {}
            for package in map(chosen_model, options.model):
                pool = records(read_spec(package.bundle), max(5_000, options.rows))
                bodies[path_of(package)] = write(Path(temporary, package.model), batches(pool, options.rows))
            print(table(measure(named, bodies, options, Path(temporary)), options.rows))
    except ScriptError as error:
        print(f"load: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nload: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

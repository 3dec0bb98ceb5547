"""Does a worker keep what requests took? Resident memory after very many, every hundredth of them of 10,000 rows.

  make bench-memory                    200,000 requests, against the value after 20,000
  make bench-memory REQUESTS=20000     a tenth of each, to see whether it works

Writes build/benchmarks/memory.json, which `python benchmarks/report.py` puts into the table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import _scripts  # noqa: F401
from bodies import Record, chosen_model, path_of, read_spec, records, write
from generator import drive, install
from processes import stop_on_signals
from project import ScriptError, write_atomically
from servers import BUILD, Running, ours, running, wait_until_idle

REQUESTS = 200_000
#: Share of the requests after which the first value is taken.
FIRST = 0.1
#: Every so manieth request is a large one.
PERIOD = 100
LARGE = 10_000
#: Large bodies that differ: each is 16 MB.
GROUPS = 3
CONNECTIONS = 4
#: Seconds of a stretch, after which memory is looked at.
STRETCH = 5


def bodies(pool: Sequence[Record], large: int = LARGE) -> Iterator[list[Record]]:
    """``GROUPS`` times a large body and ``PERIOD`` - 1 single records."""
    for group in range(GROUPS):
        yield [pool[(group * 7 + row) % len(pool)] for row in range(large)]
        for number in range(PERIOD - 1):
            yield [pool[(group * PERIOD + number) % len(pool)]]


def values(up: Running, url: str, path: Path, requests: int, stretch: int = STRETCH) -> list[tuple[int, float]]:
    """Requests answered so far and MB of the larger worker, when nothing is under way, until all are answered."""
    found = [(0, up.resident()[0])]
    while found[-1][0] < requests:
        answered = drive(up.url(url), path, connections=CONNECTIONS, seconds=stretch).answers
        wait_until_idle(up.process.pid)
        found.append((found[-1][0] + answered, up.resident()[0]))
        print(f"memory: {found[-1][0]:7,} of {requests:,} requests, {found[-1][1]:.1f} MB", flush=True)
    return found


def describe(found: Sequence[tuple[int, float]], requests: int) -> dict[str, Any]:
    """What is kept: MB after a tenth and at the end, and the most that was seen between requests."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "requests": found[-1][0],
        "full": requests >= REQUESTS,
        "first": next(megabytes for answered, megabytes in found if answered >= requests * FIRST),
        "last": found[-1][1],
        "most": max(megabytes for _, megabytes in found),
        "values": list(islice(found, 0, None, max(1, len(found) // 100))),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "memory.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=int(os.environ.get("REQUESTS") or REQUESTS))
    parser.add_argument("--model", help="name of the model (default: the only one that is trained)")
    options = parser.parse_args(arguments)
    try:
        install()
        folder = BUILD / "memory"
        package = chosen_model(options.model)
        spec = read_spec(package.bundle)
        path = write(folder / "bodies", bodies(records(spec, LARGE)))
        start = time.monotonic()
        with stop_on_signals(), running(ours(), folder) as up:
            found = describe(values(up, path_of(package), path, options.requests), options.requests)
        path.unlink()
        write_atomically(BUILD / "memory.json", json.dumps(found, indent=1) + "\n")
        print(
            f"memory: {found['first']:.1f} MB after a tenth, {found['last']:.1f} MB after {found['requests']:,} "
            f"requests, at most {found['most']:.1f} MB; {time.monotonic() - start:.0f} s"
        )
    except ScriptError as error:
        print(f"memory: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\nmemory: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How the service does under more load than it can handle: mixed load, overload, stalled clients.

  python benchmarks/overload.py                       all of it, about two minutes
  python benchmarks/overload.py mixed silent --rows 10000
  python benchmarks/overload.py --url http://127.0.0.1:5000     a server that runs already

mixed: one-row requests beside long ones (explanations, and bad rows). overload: an open loop of requests of 40 rows, at
the capacity of a closed one, two and four times that, first on connections that are used again, then on one for each
request; the generator shares the cores with the server, and says how late it was (p99) and what processor time it took.
silent, dripping: readiness beside clients that send nothing, or a byte a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import _scripts  # noqa: F401
from bodies import chosen_model, path_of, read_spec, records
from open_loop import PATIENCE, Found, LoadGenerator
from processes import stop_on_signals
from project import ScriptError
from servers import ours, running

KINDS = ("mixed", "overload", "silent", "dripping")


@dataclass(frozen=True)
class Target:
    """Where to send requests: host, port and path."""

    host: str
    port: int
    path: str

    def post(self, body: bytes, query: str = "") -> bytes:
        """A request for predictions."""
        lines = f"POST {self.path}{query} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self, request: bytes, found: Found) -> None:
        """Send one request on a connection of its own."""
        started = time.monotonic()
        status = "lost"
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError, IndexError):
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                try:
                    writer.write(request)
                    status = await read_status(reader)
                finally:
                    writer.close()
        found.add(status, time.monotonic() - started)

    async def keep_asking(self, requests: Sequence[bytes], found: Found, until: float) -> None:
        """Send one request after the other."""
        number = 0
        while time.monotonic() < until:
            await self.ask(requests[number % len(requests)], found)
            number += 1


async def read_status(reader: asyncio.StreamReader) -> str:
    """Read a response; returns its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (line.split()[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b"0"
    )
    await reader.readexactly(int(length))
    return head.split()[1].decode()


async def together(*work: Awaitable[None]) -> None:
    """Run to the end."""
    await asyncio.gather(*work)


async def mixed(target: Target, one: Sequence[bytes], long: dict[str, bytes], options: argparse.Namespace) -> None:
    """One-row requests on four connections, alone and beside long ones."""
    for name, request in {"nothing": b"", **long}.items():
        short, beside = Found(), Found()
        until = time.monotonic() + options.seconds
        callers = [target.keep_asking([request], beside, until) for _ in range(options.callers if request else 0)]
        await together(*callers, *(target.keep_asking(one, short, until) for _ in range(4)))
        print(f"mixed: one row beside {name}: {short}; those: {dict(beside.counts)}", flush=True)


async def overload(target: Target, some: Sequence[bytes], options: argparse.Namespace) -> None:
    """An open loop: requests are sent at a rate, whatever comes back."""
    address = (target.host, target.port)
    for reuse in (True, False):
        capacity, usual = LoadGenerator(address, some, reuse=reuse).closed(16, 3), 0.0
        for times in (1, 2, 4):
            load, before = LoadGenerator(address, some, reuse=reuse), time.process_time()
            load.open(times * capacity, options.seconds)
            used = (time.process_time() - before) / options.seconds
            tail = load.answered.quantile(0.99)
            usual = usual or tail
            print(
                f"overload: {times} x {capacity:.0f}/s on {'kept' if reuse else 'new'} connections: {load.answered}; "
                f"p99 is {tail / usual:.2f} of that at 1 x; readiness: {load.readiness}; generator: "
                f"{load.lateness.quantile(0.99, 'late'):.1f} ms late, {used:.0%} of a core",
                flush=True,
            )


async def watch_readiness(target: Target, found: Found, until: float) -> None:
    """Ask for readiness ten times a second."""
    ready = Target(target.host, target.port, "/health/ready")
    request = b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
    while time.monotonic() < until:
        await ready.ask(request, found)
        await asyncio.sleep(0.1)


async def stalled(target: Target, count: int, drip: bytes, options: argparse.Namespace) -> None:
    """Readiness beside clients that send nothing, or ``drip`` once a second; a closed connection is replaced."""
    until = time.monotonic() + options.seconds

    async def stall() -> None:
        while time.monotonic() < until:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(target.host, target.port)
                    try:
                        while time.monotonic() < until:
                            writer.write(drip)
                            with suppress(TimeoutError):
                                if not await asyncio.wait_for(reader.read(100), 1):
                                    break
                    finally:
                        writer.close()
            await asyncio.sleep(0.1)

    found = Found()
    callers = [asyncio.create_task(stall()) for _ in range(count)]
    await asyncio.sleep(1)
    await together(watch_readiness(target, found, until), *callers)
    within = sum(value <= 3000 for value in found.times.get("200", ())) / max(found.counts.total(), 1)
    print(
        f"{'dripping' if drip else 'silent'}: {count} clients, readiness {found}; {within:.1%} within 3 s", flush=True
    )


async def measure(target: Target, rows: Sequence[object], options: argparse.Namespace) -> None:
    """Measure what was asked for."""
    one = [target.post(json.dumps([row]).encode()) for row in rows[:1000]]
    some = [target.post(json.dumps(rows[start : start + 40]).encode()) for start in range(0, 1000, 40)]
    long = {
        f"{options.callers} x explanations": target.post(json.dumps(rows[:5]).encode(), "?explain=5"),
        f"{options.callers} x {options.rows} bad rows": target.post(json.dumps([{"x": 1}] * options.rows).encode()),
    }
    kinds: dict[str, Callable[[], Awaitable[None]]] = {
        "mixed": lambda: mixed(target, one, long, options),
        "overload": lambda: overload(target, some, options),
        "silent": lambda: stalled(target, 2000, b"", options),
        "dripping": lambda: stalled(target, 1000, b"G", options),
    }
    for kind in options.kinds or KINDS:
        await kinds[kind]()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "overload.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)} (default: all)")
    parser.add_argument("--callers", type=int, default=16, help="that send long requests (default: 16)")
    parser.add_argument("--rows", type=int, default=10_000, help="bad rows of a long request (default: 10000)")
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement (default: 8)")
    parser.add_argument("--url", help="of a server that runs (default: start ours)")
    parser.add_argument("--model", help="name of the model (default: the only one that is trained)")
    options = parser.parse_args(arguments)
    try:
        if unknown := set(options.kinds) - set(KINDS):
            raise ScriptError(f"{', '.join(sorted(unknown))}: there are {', '.join(KINDS)}", 2)
        package = chosen_model(options.model)
        rows = records(read_spec(package.bundle), 1000)
        if options.url:
            where = urlsplit(options.url)
            asyncio.run(measure(Target(where.hostname or "", where.port or 80, path_of(package)), rows, options))
        else:
            with (
                stop_on_signals(),
                tempfile.TemporaryDirectory(prefix="overload-") as folder,
                running(ours(), Path(folder)) as up,
            ):
                asyncio.run(measure(Target("127.0.0.1", up.port, path_of(package)), rows, options))
                print(f"memory of the workers: {', '.join(f'{size:.0f} MB' for size in up.resident())}")
    except ScriptError as error:
        print(f"overload: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("\noverload: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
